/* The trebuchet's projectile on its sling, many machines at once: classical Runge-Kutta steps of a fixed length.
 *
 * What a C compiler makes of it with -O3 -march=native -ffast-math is the bar for bench/kernel.py. A block of machines
 * stays in registers over all steps; one machine is one lane of a vector. Sine and cosine are Taylor series of an eighth
 * of the angle and three doublings, good for angles up to about 8, which these are.
 *
 * REAL is float or double, LANES the machines of a block. */

#include <string.h>

typedef REAL real;

enum { ARM, WEIGHT, SLING, STATES = 6 };

static const real arm = 2.0702016, counter = 0.5334, hang = 0.6096, sling = 2.0826984, /* lengths [m] */
    centre = 0.7684008, ball = 0.14877829736, beam = 4.8307587405,                     /* [m], masses [kg] */
    weight_inertia = 0.0421401100938048, beam_inertia = 2.7288719786342384,            /* [kg m^2] */
    gravity = 9.80665;

#define INLINE static inline __attribute__((always_inline))

INLINE void sincos_of(real angle, real *sine, real *cosine)
{
    const real x = angle / 8, z = x * x;
    real s, c;
    if (sizeof(real) == 4) {
        s = x + x * z * ((real)(-1.0 / 6) + z * ((real)(1.0 / 120) + z * (real)(-1.0 / 5040)));
        c = 1 + z * ((real)-0.5 + z * ((real)(1.0 / 24) + z * ((real)(-1.0 / 720) + z * (real)(1.0 / 40320))));
    } else {
        s = x + x * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800
            + z * (1.0 / 6227020800.0 + z * (-1.0 / 1307674368000.0)))))));
        c = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800
            + z * (1.0 / 479001600.0 + z * (-1.0 / 87178291200.0 + z * (1.0 / 20922789888000.0))))))));
    }
    for (int doubled = 0; doubled < 3; doubled++) {
        const real twice = 2 * s * c;
        c = 1 - 2 * s * s;
        s = twice;
    }
    *sine = s;
    *cosine = c;
}

/* Accelerations of arm, weight and sling from three angles (weight and sling seen from the arm) and their rates. */
INLINE void accelerations(const real *q, const real *v, real mass, real *out)
{
    real sa, ca, sw, cw, ss, cs;
    sincos_of(q[ARM], &sa, &ca);
    sincos_of(q[WEIGHT], &sw, &cw);
    sincos_of(q[SLING], &ss, &cs);
    const real s_hang = sa * cw + ca * sw, s_sling = sa * cs + ca * ss;
    const real heavy = mass * counter * hang, light = ball * arm * sling;
    const real m22 = weight_inertia + mass * hang * hang, m33 = ball * sling * sling;
    const real m12 = m22 + heavy * cw, m13 = m33 + light * cs;
    const real m11 = beam_inertia + beam * centre * centre + mass * counter * counter + ball * arm * arm + m22 + m33
        + 2 * (heavy * cw + light * cs);
    const real square = v[ARM] * v[ARM];
    const real f2 = -heavy * sw * square - gravity * mass * hang * s_hang;
    const real f3 = -light * ss * square + gravity * ball * sling * s_sling;
    const real f1 = gravity * ((beam * centre + ball * arm - mass * counter) * sa - mass * hang * s_hang
        + ball * sling * s_sling) + heavy * sw * v[WEIGHT] * (v[WEIGHT] + 2 * v[ARM])
        + light * ss * v[SLING] * (v[SLING] + 2 * v[ARM]);
    const real i2 = 1 / m22, i3 = 1 / m33; /* the mass matrix is an arrow: eliminate weight and sling */
    const real a = (f1 - m12 * i2 * f2 - m13 * i3 * f3) / (m11 - m12 * m12 * i2 - m13 * m13 * i3);
    out[ARM] = a;
    out[WEIGHT] = (f2 - m12 * a) * i2;
    out[SLING] = (f3 - m13 * a) * i3;
}

INLINE void step(real *q, real *v, real mass, real h)
{
    static const real share[4] = {0, 0.5, 0.5, 1}, part[4] = {1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6};
    real rate[3], slope[3], q_sum[3], v_sum[3];
    for (int k = 0; k < 3; k++) {
        rate[k] = v[k], slope[k] = 0, q_sum[k] = q[k], v_sum[k] = v[k];
    }
    for (int stage = 0; stage < 4; stage++) {
        real at[3];
        for (int k = 0; k < 3; k++) {
            at[k] = q[k] + share[stage] * h * rate[k];
            rate[k] = v[k] + share[stage] * h * slope[k];
        }
        accelerations(at, rate, mass, slope);
        for (int k = 0; k < 3; k++) {
            q_sum[k] += part[stage] * h * rate[k];
            v_sum[k] += part[stage] * h * slope[k];
        }
    }
    for (int k = 0; k < 3; k++)
        q[k] = q_sum[k], v[k] = v_sum[k];
}

/* Advances `machines` (a multiple of LANES) by `steps`; state is [6][machines]: three angles, three rates. */
void run(real *state, const real *mass, real h, int machines, int steps)
{
    for (int first = 0; first < machines; first += LANES) {
        real x[STATES][LANES], m[LANES];
        for (int k = 0; k < STATES; k++)
            memcpy(x[k], state + k * machines + first, sizeof x[k]);
        memcpy(m, mass + first, sizeof m);
        for (int n = 0; n < steps; n++) {
#pragma GCC ivdep
            for (int lane = 0; lane < LANES; lane++) {
                real q[3] = {x[0][lane], x[1][lane], x[2][lane]}, v[3] = {x[3][lane], x[4][lane], x[5][lane]};
                step(q, v, m[lane], h);
                x[0][lane] = q[0], x[1][lane] = q[1], x[2][lane] = q[2];
                x[3][lane] = v[0], x[4][lane] = v[1], x[5][lane] = v[2];
            }
        }
        for (int k = 0; k < STATES; k++)
            memcpy(state + k * machines + first, x[k], sizeof x[k]);
    }
}
