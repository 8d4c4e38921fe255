// The streams of crates/imbalance/src/rng.rs: any number of one, made where it is needed, to the same bits as on the host.
#pragma once

typedef unsigned long long u64;

// The n-th uniform number in [0, 1) of a stream: Philox 4x32-10, two words per number, 53 bits.
__device__ __forceinline__ double uniform(const unsigned *stream, u64 n) {
    u64 block = n / 2;
    unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = stream[2], c3 = stream[3];
    unsigned k0 = stream[0], k1 = stream[1];
    for (int round = 0; round < 10; round++) {
        u64 a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        unsigned d0 = (unsigned)(b >> 32) ^ c1 ^ k0, d2 = (unsigned)(a >> 32) ^ c3 ^ k1;
        c1 = (unsigned)b;
        c3 = (unsigned)a;
        c0 = d0;
        c2 = d2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    u64 word = n % 2 ? (u64)c2 | (u64)c3 << 32 : (u64)c0 | (u64)c1 << 32;
    return (double)(word >> 11) * (1.0 / 9007199254740992.0);
}
