/* Linked before the library's own, so that this one counts. */
#include "feature_level.h"

const uint32_t feature_level_max = 3;
