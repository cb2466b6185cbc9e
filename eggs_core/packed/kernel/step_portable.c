/* The arithmetic between the products, for any processor. */
#define TARGET
#define MATH eggs_math_portable
#define WIDTH 4
#define PASS 2
#include "step_math.h"
