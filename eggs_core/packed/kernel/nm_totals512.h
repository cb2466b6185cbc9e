/* Part of a file that has defined INLINE and UNROLL for its processor. */
/* The sums of four registers. */
INLINE void totals(const __m512 *a, float *to) {
    __m256 s[4];
    UNROLL for (int i = 0; i < 4; i++)
        s[i] = _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a[i]), 1)));
    s[0] = _mm256_hadd_ps(_mm256_hadd_ps(s[0], s[1]), _mm256_hadd_ps(s[2], s[3]));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(s[0]), _mm256_extractf128_ps(s[0], 1)));
}
