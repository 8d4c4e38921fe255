//! The operations Candle lacks or gets wrong, each beside its plain-Candle reference: fast on the CPU, the reference elsewhere.
