#include "leader_clock.h"
