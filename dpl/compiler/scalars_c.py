"""The mathematics of exported C files: `scalars.py` in C, in the same operations, so that both round alike.

A file holds what it uses, in this order. `single` turns a whole file into single precision.
"""

from __future__ import annotations

import re

_TEXT = """
static double sign(double x)
{
    return x != x ? x : (double)((x > 0.0) - (x < 0.0));
}

static double step(double x)
{
    return x > 0.0 ? 1.0 : 0.0;
}

static double relu(double x)
{
    return x < 0.0 ? 0.0 : x;
}

/* The remainder, with the sign of the divisor. */
static double modulo(double x, double y)
{
    double r = fmod(x, y);
    if (r == 0.0)
        return copysign(0.0, y);
    return (r < 0.0) != (y < 0.0) ? r + y : r;
}

static double cube_root(double x)
{
    return copysign(pow(fabs(x), 1.0/3.0), x);
}

static double hypotenuse(double x, double y)
{
    return sqrt(x*x + y*y);
}

/* The same angle in (-pi, pi]. */
static double wrap(double angle)
{
    return angle - 6.283185307179586*ceil((angle - 3.141592653589793)/6.283185307179586);
}

/* The greater; NaN if one is. */
static double maximum(double a, double b)
{
    return a > b || a != a ? a : b;
}

/* The lesser; NaN if one is. */
static double minimum(double a, double b)
{
    return a < b || a != a ? a : b;
}

/* x kept between low and high; NaN if one is. */
static double clip(double x, double low, double high)
{
    x = x >= low || x != x ? x : low;
    return x <= high || x != x ? x : high;
}

/* 1/(1 + exp(-x)), without overflow. */
static double sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return x >= 0.0 ? 1.0/(1.0 + e) : e/(1.0 + e);
}

/* log(1 + exp(x)), without overflow. */
static double softplus(double x)
{
    return (0.0 > x ? 0.0 : x) + log1p(exp(-fabs(x)));
}

/* e*e/2 within the scale, linear beyond. */
static double huber(double e, double scale)
{
    const double within = minimum(fabs(e), scale);
    return within*(fabs(e) - 0.5*within);
}

static double smooth_abs(double x, double width)
{
    return sqrt(x*x + width*width);
}

static double smooth_sign(double x, double width)
{
    return tanh(x/width);
}

static double smooth_step(double x, double width)
{
    return sigmoid(x/width);
}

static double smooth_max(double a, double b, double width)
{
    return 0.5*(a + b + smooth_abs(a - b, width));
}

static double smooth_min(double a, double b, double width)
{
    return 0.5*(a + b - smooth_abs(a - b, width));
}

static double smooth_relu(double x, double width)
{
    return 0.5*(x + smooth_abs(x, width));
}

static double smooth_clip(double x, double low, double high, double width)
{
    return smooth_min(smooth_max(x, low, width), high, width);
}

/* Blends from b (margin well below 0) to a (well above). */
static double smooth_choose(double margin, double a, double b, double width)
{
    const double share = smooth_step(margin, width);
    return share*a + (1.0 - share)*b;
}

static double sum(int n, const double *a)
{
    double total = 0.0;
    for (int i = 0; i < n; i++)
        total += a[i];
    return total;
}

static double mean(int n, const double *a)
{
    return sum(n, a)/n;
}

static double product(int n, const double *a)
{
    double total = 1.0;
    for (int i = 0; i < n; i++)
        total *= a[i];
    return total;
}

static double dot(int n, const double *a, const double *b)
{
    double total = 0.0;
    for (int i = 0; i < n; i++)
        total += a[i]*b[i];
    return total;
}

static double norm(int n, const double *a)
{
    return sqrt(dot(n, a, a));
}

static double least(int n, const double *a)
{
    double found = a[0];
    for (int i = 1; i < n; i++)
        found = minimum(a[i], found);
    return found;
}

static double greatest(int n, const double *a)
{
    double found = a[0];
    for (int i = 1; i < n; i++)
        found = maximum(a[i], found);
    return found;
}

/* The value whose score is greatest, the first of several. */
static double pick(int n, const double *scores, const double *values)
{
    int best = 0;
    for (int i = 1; i < n && scores[best] == scores[best]; i++)
        if (scores[i] > scores[best] || scores[i] != scores[i])
            best = i;
    return values[best];
}

/* Linear between points, and level beyond them. */
static double interpolate(double x, int n, const double *xs, const double *ys)
{
    int i = 0;
    if (x != x)
        return x;
    if (x > xs[n - 1])
        return ys[n - 1];
    while (i < n && xs[i] <= x)
        i++;
    if (i == 0)
        return ys[0];
    if (i == n || xs[i - 1] == x)
        return ys[i - 1];
    return (ys[i] - ys[i - 1])/(xs[i] - xs[i - 1])*(x - xs[i - 1]) + ys[i - 1];
}

/* The last knot at or before x that one follows, from 0 on. */
static int place(double x, int n, const double *knots)
{
    int low = 0, high = n - 1;
    while (high - low > 1) {
        const int middle = (low + high)/2;
        if (knots[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The value of the knot at or before x. */
static double previous(double x, int n, const double *knots, const double *values)
{
    return !(x < knots[n - 1]) ? values[n - 1] : values[place(x, n, knots)];
}

/* The cubic through two knots with their slopes; beyond the knots their value. */
static double cubic(double x, int n, const double *knots, const double *values, const double *slopes)
{
    const int i = place(x, n, knots);
    const double h = knots[i + 1] - knots[i], rise = values[i + 1] - values[i];
    const double s = (clip(x, knots[0], knots[n - 1]) - knots[i])/h;
    return values[i] + s*s*(3.0 - 2.0*s)*rise + h*s*(1.0 - s)*((1.0 - s)*slopes[i] - s*slopes[i + 1]);
}

/* out = a b, of rows x inner and inner x columns. */
static void matmul(int rows, int inner, int columns, const double *a, const double *b, double *out)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            double total = 0.0;
            for (int k = 0; k < inner; k++)
                total += a[i*inner + k]*b[k*columns + j];
            out[i*columns + j] = total;
        }
}

/* The unknowns x of a x = b, left in b; NaN where there is no one solution. */
static void linear_solve(int n, double *a, double *b)
{
    int singular = 0;
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(a[i*n + k]) > fabs(a[best*n + k]))
                best = i;
        const double right = b[k];
        b[k] = b[best];
        b[best] = right;
        for (int j = k; j < n; j++) {
            const double entry = a[k*n + j];
            a[k*n + j] = a[best*n + j];
            a[best*n + j] = entry;
        }
        singular = singular || a[k*n + k] == 0.0;
        for (int i = k + 1; i < n; i++) {
            const double factor = a[i*n + k]/a[k*n + k];
            for (int j = k + 1; j < n; j++)
                a[i*n + j] -= factor*a[k*n + j];
            b[i] -= factor*b[k];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++)
            b[i] -= a[i*n + j]*b[j];
        b[i] = singular ? NAN : b[i]/a[i*n + i];
    }
}

/* tanh for -20..20 within 3 units of the last digit, without branches: loops over it vectorise. */
static inline double bounded_tanh(double x)
{
    union { double number; unsigned long long bits; } power;
    const double a = fabs(x), n = (a*2.885390081777927 + 6755399441055744.0) - 6755399441055744.0;
    const double r = (2.0*a - n*0.6931471803691238) - n*1.9082149292705877e-10;
    double p = 1.0/6227020800.0;
    p = p*r + 1.0/479001600.0;
    p = p*r + 1.0/39916800.0;
    p = p*r + 1.0/3628800.0;
    p = p*r + 1.0/362880.0;
    p = p*r + 1.0/40320.0;
    p = p*r + 1.0/5040.0;
    p = p*r + 1.0/720.0;
    p = p*r + 1.0/120.0;
    p = p*r + 1.0/24.0;
    p = p*r + 1.0/6.0;
    p = p*r + 0.5;
    p = p*r*r + r;
    power.number = n + 6755399441056767.0;
    power.bits <<= 52;
    const double e = power.number*p + (power.number - 1.0);
    return copysign(e/(e + 2.0), x);
}
"""

FUNCTIONS: dict[str, str] = {
    match[1]: match[0].strip()
    for match in re.finditer(
        r"(?:/\*[^\n]*\*/\n)?static (?:inline )?\w+ (\w+)\(.*?^\}$", _TEXT, re.DOTALL | re.MULTILINE
    )
}
"""Each function by its name, in an order in which C can read them"""

_SINGLE_TANH = """/* tanh for -20..20 within 3 units of the last digit, without branches: loops over it vectorise. */
static inline float bounded_tanh(float x)
{
    union { float number; unsigned int bits; } power;
    const float a = fabsf(x), n = (a*2.8853901f + 12582912.0f) - 12582912.0f;
    const float r = (2.0f*a - n*0.693145752f) - n*1.42860677e-6f;
    float p = 1.0f/5040.0f;
    p = p*r + 1.0f/720.0f;
    p = p*r + 1.0f/120.0f;
    p = p*r + 1.0f/24.0f;
    p = p*r + 1.0f/6.0f;
    p = p*r + 0.5f;
    p = p*r*r + r;
    power.number = n + 12583039.0f;
    power.bits <<= 23;
    const float e = power.number*p + (power.number - 1.0f);
    return copysignf(e/(e + 2.0f), x);
}"""

LIBRARY = frozenset(
    "exp log log10 log2 log1p sqrt sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf floor ceil "
    "rint lgamma tgamma pow fabs fmod copysign".split()
)
"""What the text may call of <math.h>"""

_CALLED = {name: frozenset(re.findall(r"\b[a-z_]+(?=\()", text)) & FUNCTIONS.keys() for name, text in FUNCTIONS.items()}
_TOKEN = re.compile(
    r"(?P<comment>/\*.*?\*/|\"[^\"\n]*\")|(?P<number>\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b)|(?P<word>[A-Za-z_]\w*)", re.DOTALL
)


def functions(used: set[str]) -> list[str]:
    """The texts of the functions that are used, and of those that they use, in an order in which C can read them."""
    needed: set[str] = set()
    waiting = list(used)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += _CALLED[name] - {name}
    return [text for name, text in FUNCTIONS.items() if name in needed]


def single(text: str) -> str:
    """A whole file in single precision: types, numbers and functions of <math.h>; comments stay."""
    text = text.replace(FUNCTIONS["bounded_tanh"], _HERE)

    def changed(match: re.Match[str]) -> str:
        found = match[0]
        if match["comment"]:
            return found
        if match["word"]:
            return "float" if found == "double" else f"{found}f" if found in LIBRARY else found
        if not set(found) & set(".e"):
            return found
        return "INFINITY" if float(found) > _LARGEST else "0.0f" if float(found) < _SMALLEST else f"{found}f"

    return _TOKEN.sub(changed, text).replace(_HERE, _SINGLE_TANH)


_HERE = '"tanh"'
_LARGEST, _SMALLEST = 3.4028234e38, 1.2e-38
