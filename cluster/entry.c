#include "replica.h"
