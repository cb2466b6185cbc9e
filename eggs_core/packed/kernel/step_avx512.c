/* The arithmetic between the products, for AVX-512. */
#if defined(__x86_64__)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")))
#define MATH eggs_math_avx512
#define WIDTH 16
#define PASS 4
#include "step_math.h"
#endif
