#include "netlock.h"
