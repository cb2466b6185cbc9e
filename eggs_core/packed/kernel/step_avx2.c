/* The arithmetic between the products, for AVX2. */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define MATH eggs_math_avx2
#define WIDTH 8
#define PASS 2
#include "step_math.h"
#endif
