#include "raft_node.h"
