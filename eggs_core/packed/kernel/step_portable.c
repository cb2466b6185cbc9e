/* The arithmetic between the products, for any processor. */
#define TARGET
#define MATH eggs_math_portable
#include "step_math.h"
