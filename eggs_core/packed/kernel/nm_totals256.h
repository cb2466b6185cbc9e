/* Part of a file that has defined INLINE for AVX2. */
/* The sums of four registers. */
INLINE void totals(const __m256 *a, float *to) {
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
