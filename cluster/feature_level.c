#include "feature_level.h"

/* A file of its own: the test of rolling upgrades links the next build with another number. */
const uint32_t feature_level_max = FEATURE_LEVEL_DROP_MAX;
