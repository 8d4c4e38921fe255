// What the files of the emulated driver share.
#pragma once
#include "engine.h"

// Runs every thread of a launch before it returns.
void emu_run(const EmuKernel &kernel, EmuIndex grid, EmuIndex block, size_t dynamic_shared, void **parameters);

// Device memory: 0 bytes of room left, or none of the machine's: null.
void *emu_allocate(size_t bytes);
bool emu_free(void *at);
size_t emu_memory_limit();
size_t emu_memory_used();
