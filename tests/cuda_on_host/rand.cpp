// libcurand.so.10 of the host emulation: uniform numbers in (0, 1] and normal ones, from splitmix64. Not cuRAND's numbers.
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "engine.h"

namespace {
struct Generator { uint64_t seed, drawn; };
uint64_t next(Generator &generator) {
    uint64_t z = generator.seed + ++generator.drawn * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
double uniform(Generator &generator) { return double((next(generator) >> 11) + 1) / 9007199254740992.0; }
template <typename T> int fill(Generator &generator, T *to, size_t count) {
    if (!emu_is_device_memory(to, count * sizeof(T), "random numbers")) return 103;
    // As cuRAND, the f32 numbers never are 0.
    for (size_t i = 0; i < count; ++i) to[i] = std::fmax(T(uniform(generator)), T(2.3283064e-10));
    return 0;
}
template <typename T> int fill_normal(Generator &generator, T *to, size_t count, T mean, T deviation) {
    if (count % 2) return 105; // CURAND_STATUS_LENGTH_NOT_MULTIPLE
    if (!emu_is_device_memory(to, count * sizeof(T), "random numbers")) return 103;
    for (size_t i = 0; i < count; ++i) {
        const double size = std::sqrt(-2.0 * std::log(uniform(generator)));
        to[i] = mean + deviation * T(size * std::cos(2.0 * M_PI * uniform(generator)));
    }
    return 0;
}
}  // namespace

extern "C" {
int curandCreateGenerator(Generator **made, int) { *made = new Generator{}; return 0; }
int curandDestroyGenerator(Generator *generator) { delete generator; return 0; }
int curandSetStream(Generator *, void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(Generator *generator, unsigned long long seed) { *generator = {seed, 0}; return 0; }
int curandSetGeneratorOffset(Generator *generator, unsigned long long offset) { generator->drawn = offset; return 0; }
int curandGenerateUniform(Generator *generator, float *to, size_t count) { return fill(*generator, to, count); }
int curandGenerateUniformDouble(Generator *generator, double *to, size_t count) { return fill(*generator, to, count); }
int curandGenerateNormal(Generator *generator, float *to, size_t count, float mean, float deviation) { return fill_normal(*generator, to, count, mean, deviation); }
int curandGenerateNormalDouble(Generator *generator, double *to, size_t count, double mean, double deviation) { return fill_normal(*generator, to, count, mean, deviation); }
}
