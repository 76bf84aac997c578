/* ADD and SUB of operands of one shape. Operands and their sum are rescaled by rule D as in
 * finish_avx2.h, with one multiplier for all lanes. */

#if defined(__x86_64__)

#include "../../core/layout.h"
#include "finish_tile.h"
#include "kernels_avx2.h"

#include <string.h>

#define UNSURE_MAX 32

/* One rescaling: y = (v + half - (v < 0)) >> right, v = (x 2^left m + 2^30) >> 31. */
typedef struct {
    int64_t addend;  /* 2^30 + half 2^31 */
    int32_t multiplier, left, right;
    int32_t sign_mask;  /* -1; 0 where right is 0, and nothing is rounded a second time */
    int32_t is_halving; /* half of an even number: nothing is rounded at all */
} scaling;

typedef struct {
    scaling a, b, sum;
    int32_t zero_a, zero_b, zero_y, act_min, act_max;
    int32_t is_difference;
    float fine_a, fine_b, fine_addend; /* y 2^16 = a fine_a + b fine_b + fine_addend, nearly: … */
    int32_t unsure;                    /* … so far off at most; 0 where that is too much */
} plan;

/* `bits` is the shift to the left that comes before. */
static scaling scaling_of(int32_t multiplier, int32_t shift, int32_t bits)
{
    int32_t right = multiplier == 0 ? 1 : shift > 0 ? 0 : -shift;
    int64_t half = right > 0 ? (int64_t)1 << (right - 1) : 0;
    return (scaling){
        .addend = ((int64_t)1 << 30) + (half << 31),
        .multiplier = multiplier,
        .left = bits + (shift > 0 ? shift : 0),
        .right = right,
        .sign_mask = right > 0 ? -1 : 0,
        .is_halving = multiplier == 1 << 30 && shift == 0 && bits > 0,
    };
}

/* The largest magnitude behind a scaling that shifts to the right. */
static int64_t largest_after(const scaling *s, int64_t largest)
{
    return ((((largest << s->left) * s->multiplier) >> 31) >> s->right) + 1;
}

static plan describe(const wh_program *program, const wh_node *node)
{
    const int32_t *p = node->params;
    const int32_t bits = p[WH_SUM_LEFT_SHIFT];
    return (plan){
        .a = scaling_of(p[WH_SUM_MULTIPLIER_A], p[WH_SUM_SHIFT_A], bits),
        .b = scaling_of(p[WH_SUM_MULTIPLIER_B], p[WH_SUM_SHIFT_B], bits),
        .sum = scaling_of(p[WH_SUM_MULTIPLIER], p[WH_SUM_SHIFT], 0),
        .zero_a = wh_operand_of(program, node, 0)->zero_point,
        .zero_b = wh_operand_of(program, node, 1)->zero_point,
        .zero_y = program->tensors[node->output].zero_point,
        .act_min = p[WH_SUM_ACT_MIN],
        .act_max = p[WH_SUM_ACT_MAX],
        .is_difference = node->op == WH_SUB,
    };
}

/* What a scaling multiplies by. */
static double factor_of(const scaling *s)
{
    return (double)s->multiplier / 2147483648.0 * (double)((int64_t)1 << s->left) /
           (double)((int64_t)1 << s->right);
}

/* The way by floats, as in finish_tile.h. An operand's own rounding puts the sum off by 1 at most,
 * the last one's sign by half as much; a float by 2^-23 of the largest there is, in three steps. */
static void plan_fine(plan *p)
{
    double last = factor_of(&p->sum) * 65536;
    double a = factor_of(&p->a) * last;
    double b = factor_of(&p->b) * last * (p->is_difference ? -1 : 1);
    double addend = p->zero_y * 65536.0 + 32768 - a * p->zero_a - b * p->zero_b;
    double largest = 128 * a + 128 * (b < 0 ? -b : b) + (addend < 0 ? -addend : addend);
    double ties = 65536.0 / (double)((int64_t)1 << p->sum.right);
    double unsure = 2 * last + ties + 3 * largest / 8388608 + 2;
    int64_t sum = largest_after(&p->a, 255) + largest_after(&p->b, 255);
    int is_wrapping = p->a.left > 23 || p->b.left > 23 || sum > INT32_MAX;
    p->unsure = !is_wrapping && unsure < UNSURE_MAX ? (int32_t)unsure + 1 : 0;
    p->fine_a = (float)a;
    p->fine_b = (float)b;
    p->fine_addend = (float)(addend + p->unsure);
}

/* Sums that are shifted to the left, or could overflow, are left to the portable kernel. */
int wh_sum_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    uint32_t size = program->tensors[node->output].size;
    plan p = describe(program, node);
    int64_t sum = largest_after(&p.a, 255) + largest_after(&p.b, 255);
    int64_t v = ((sum * p.sum.multiplier) >> 31) + 1;
    needs->prepared = sizeof p;
    return wh_operand_of(program, node, 0)->size == size &&
           wh_operand_of(program, node, 1)->size == size && p.sum.left == 0 &&
           v + ((int64_t)1 << p.sum.right) <= INT32_MAX;
}

void wh_sum_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    plan p = describe(program, node);
    plan_fine(&p);
    memcpy(prepared, &p, sizeof p);
}

WH_INLINE __m256i scaled(__m256i x, const scaling *s)
{
    if (s->is_halving) {
        return _mm256_sll_epi32(x, _mm_cvtsi32_si128(s->left - 1));
    }
    __m256i multiplier = _mm256_set1_epi32(s->multiplier);
    __m256i addend = _mm256_set1_epi64x(s->addend);
    x = _mm256_sll_epi32(x, _mm_cvtsi32_si128(s->left));
    __m256i even = _mm256_mul_epi32(x, multiplier);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(x, 32), multiplier);
    even = _mm256_srli_epi64(_mm256_add_epi64(even, addend), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, addend), 1);
    __m256i v = _mm256_blend_epi32(even, odd, 0xAA);
    __m256i sign = _mm256_and_si256(_mm256_srai_epi32(x, 31), _mm256_set1_epi32(s->sign_mask));
    return _mm256_sra_epi32(_mm256_add_epi32(v, sign), _mm_cvtsi32_si128(s->right));
}

WH_INLINE __m256i centred(const int8_t *x, int32_t zero)
{
    __m128i bytes = _mm_loadl_epi64((const void *)x);
    return _mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes), _mm256_set1_epi32(zero));
}

WH_INLINE __m256i sum_of_8(const plan *p, const int8_t *a, const int8_t *b)
{
    __m256i scaled_a = scaled(centred(a, p->zero_a), &p->a);
    __m256i scaled_b = scaled(centred(b, p->zero_b), &p->b);
    __m256i minus = _mm256_set1_epi32(-p->is_difference);
    scaled_b = _mm256_sub_epi32(_mm256_xor_si256(scaled_b, minus), minus);
    return scaled(_mm256_add_epi32(scaled_a, scaled_b), &p->sum);
}

WH_INLINE void sum_of_16(const plan *p, const int8_t *a, const int8_t *b, int8_t *y)
{
    __m256i words = _mm256_packs_epi32(sum_of_8(p, a, b), sum_of_8(p, a + 8, b + 8));
    words = _mm256_adds_epi16(words, _mm256_set1_epi16((int16_t)p->zero_y));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    bytes = _mm_max_epi8(bytes, _mm_set1_epi8((int8_t)p->act_min));
    bytes = _mm_min_epi8(bytes, _mm_set1_epi8((int8_t)p->act_max));
    _mm_storeu_si128((void *)y, bytes);
}

/* 8 sums in units of 2^-16. */
WH_INLINE __m256i fine_sum_of_8(const plan *p, const int8_t *a, const int8_t *b)
{
    __m256i wide_a = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)a));
    __m256i wide_b = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)b));
    __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide_a), _mm256_set1_ps(p->fine_a),
                                 _mm256_set1_ps(p->fine_addend));
    return _mm256_cvtps_epi32(
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide_b), _mm256_set1_ps(p->fine_b), sum));
}

WH_INLINE void sum_of_32(const plan *p, const int8_t *a, const int8_t *b, int8_t *y)
{
    __m256i least = _mm256_set1_epi16(-1);
    __m256i first =
        wh_whole_parts(fine_sum_of_8(p, a, b), fine_sum_of_8(p, a + 8, b + 8), &least);
    __m256i second =
        wh_whole_parts(fine_sum_of_8(p, a + 16, b + 16), fine_sum_of_8(p, a + 24, b + 24), &least);
    if (wh_is_sure(least, p->unsure)) {
        wh_store_256(y, wh_whole_bytes(first, second, p->act_min, p->act_max));
    } else {
        sum_of_16(p, a, b, y);
        sum_of_16(p, a + 16, b + 16, y + 16);
    }
}

void wh_sum_avx2(const wh_call *call)
{
    plan p = *(const plan *)call->prepared;
    const int8_t *a = wh_operand_int8(call, 0);
    const int8_t *b = wh_operand_int8(call, 1);
    int8_t *y = wh_result_int8(call);
    uint32_t size = wh_result(call)->size;
    uint32_t i = 0;
    for (; p.unsure > 0 && i + 32 <= size; i += 32) {
        sum_of_32(&p, a + i, b + i, y + i);
    }
    for (; i + 16 <= size; i += 16) {
        sum_of_16(&p, a + i, b + i, y + i);
    }
    if (i < size) {
        int8_t rest_a[16] = {0}, rest_b[16] = {0}, rest_y[16];
        memcpy(rest_a, a + i, size - i);
        memcpy(rest_b, b + i, size - i);
        sum_of_16(&p, rest_a, rest_b, rest_y);
        memcpy(y + i, rest_y, size - i);
    }
}

#include "avx2_end.h"

#endif
