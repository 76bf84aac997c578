/* Instructions of AVX-512F that Debian's SIMDe has not: 16 lanes, one after the other. */

#ifndef WHERRY_KERNELS_SIMDE_LACKS_H
#define WHERRY_KERNELS_SIMDE_LACKS_H

#include <stdint.h>
#include <string.h>

#define WH_LANES 16

static inline __m512 wh_lacks_cvtepi32_ps(__m512i from)
{
    int32_t whole[WH_LANES];
    float to[WH_LANES];
    memcpy(whole, &from, sizeof whole);
    for (int i = 0; i < WH_LANES; i++) {
        to[i] = (float)whole[i];
    }
    return _mm512_loadu_ps(to);
}

static inline __m512i wh_lacks_cvtps_epi32(__m512 from)
{
    float real[WH_LANES];
    int32_t to[WH_LANES];
    memcpy(real, &from, sizeof real);
    for (int i = 0; i < WH_LANES; i++) {
        to[i] = _mm_cvtss_si32(_mm_set_ss(real[i]));
    }
    return _mm512_loadu_si512(to);
}

static inline __m512i wh_lacks_srai_epi32(__m512i from, int count)
{
    int32_t whole[WH_LANES];
    memcpy(whole, &from, sizeof whole);
    for (int i = 0; i < WH_LANES; i++) {
        whole[i] >>= count;
    }
    return _mm512_loadu_si512(whole);
}

static inline uint16_t wh_lacks_cmplt_epi32_mask(__m512i a, __m512i b)
{
    int32_t one[WH_LANES];
    int32_t other[WH_LANES];
    uint16_t mask = 0;
    memcpy(one, &a, sizeof one);
    memcpy(other, &b, sizeof other);
    for (int i = 0; i < WH_LANES; i++) {
        mask |= (uint16_t)((one[i] < other[i]) << i);
    }
    return mask;
}

#define _mm512_cvtepi32_ps wh_lacks_cvtepi32_ps
#define _mm512_cvtps_epi32 wh_lacks_cvtps_epi32
#define _mm512_srai_epi32 wh_lacks_srai_epi32
#define _mm512_cmplt_epi32_mask wh_lacks_cmplt_epi32_mask

#endif
