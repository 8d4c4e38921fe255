// libcuda.so.1 of the host emulation: one device, contexts, streams whose work is done before a call returns, modules, launches.
// Signatures are the toolkit's own (cuda.h), so that a wrong one does not compile.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <cuda.h>

#include "driver.h"

#undef cuCtxDestroy
#undef cuMemAlloc

struct CUctx_st { int retained; };
struct CUmod_st { std::vector<std::pair<std::string, const EmuKernel *>> kernels; };
struct CUfunc_st { const EmuKernel *kernel; size_t dynamic_limit; };
struct CUstream_st { unsigned flags; };
struct CUevent_st { std::chrono::steady_clock::time_point at; bool recorded; };

namespace {
CUctx_st context;
bool started;
thread_local CUcontext bound;
struct Source { std::string file; const EmuKernel *kernels; unsigned count; };
std::vector<Source> &sources() { static auto &at = *new std::vector<Source>; return at; }
std::map<const EmuKernel *, CUfunc_st> &functions() { static auto &at = *new std::map<const EmuKernel *, CUfunc_st>; return at; }
std::recursive_mutex device; // one launch at a time

#define NEEDS_CONTEXT \
    if (!bound) return started ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_NOT_INITIALIZED

// Kernels live in libraries beside this one, in kernels/; each registers itself as it is opened.
void open_kernels() {
    Dl_info here;
    if (!dladdr(reinterpret_cast<void *>(&open_kernels), &here)) return;
    const std::string folder = std::string(here.dli_fname).substr(0, std::string(here.dli_fname).rfind('/')) + "/kernels";
    DIR *entries = opendir(folder.c_str());
    if (!entries) return;
    while (dirent *entry = readdir(entries)) {
        const std::string name = entry->d_name;
        if (name.size() > 3 && name.substr(name.size() - 3) == ".so" && !dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL))
            fprintf(stderr, "host emulation: %s\n", dlerror());
    }
    closedir(entries);
}

// Names after `.entry` in PTX.
std::set<std::string> entries(const char *ptx) {
    std::set<std::string> names;
    for (const char *at = ptx; (at = strstr(at, ".entry ")) != nullptr;) {
        at += 7;
        names.insert(std::string(at, strcspn(at, "( \n")));
    }
    return names;
}

bool device_memory(CUdeviceptr at, size_t bytes, const char *what) { return bytes == 0 || emu_is_device_memory(reinterpret_cast<void *>(at), bytes, what); }
void *pointer(CUdeviceptr at) { return reinterpret_cast<void *>(at); }
}  // namespace

extern "C" {
void emu_register_module(const char *file, const EmuKernel *kernels, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        // The host's build reads the parameters as the PTX's declares them, or what it shows is worth nothing.
        const EmuKernel &kernel = kernels[i];
        if (kernel.parameters == kernel.ptx_parameters && !memcmp(kernel.sizes, kernel.ptx_sizes, kernel.parameters)) continue;
        fprintf(stderr, "host emulation: %s in %s has other parameters than in the PTX\n", kernel.name, file);
        abort();
    }
    sources().push_back({file, kernels, count});
}

CUresult cuInit(unsigned) {
    std::lock_guard guard(device);
    if (!started) {
        started = true;
        open_kernels();
        fprintf(stderr, "host emulation of CUDA: no GPU takes part, nothing here is a GPU's result\n");
    }
    return CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int *version) { *version = 13000; return CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char **words) {
    switch (error) {
        case CUDA_SUCCESS: *words = "no error"; break;
        case CUDA_ERROR_INVALID_VALUE: *words = "invalid argument"; break;
        case CUDA_ERROR_OUT_OF_MEMORY: *words = "out of memory"; break;
        case CUDA_ERROR_NOT_INITIALIZED: *words = "initialization error"; break;
        case CUDA_ERROR_INVALID_DEVICE: *words = "invalid device ordinal"; break;
        case CUDA_ERROR_INVALID_CONTEXT: *words = "invalid device context"; break;
        case CUDA_ERROR_NOT_FOUND: *words = "named symbol not found"; break;
        case CUDA_ERROR_INVALID_PTX: *words = "a PTX JIT compilation failed"; break;
        case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: *words = "too many resources requested for launch"; break;
        case CUDA_ERROR_ILLEGAL_ADDRESS: *words = "an illegal memory access was encountered"; break;
        default: *words = "unknown error"; return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult, const char **words) { *words = "CUDA_ERROR (host emulation)"; return CUDA_SUCCESS; }

CUresult cuDeviceGetCount(int *count) { *count = 1; return started ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }
CUresult cuDeviceGet(CUdevice *found, int ordinal) {
    if (!started) return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *found = 0;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *name, int room, CUdevice) { snprintf(name, size_t(room), "host emulation"); return CUDA_SUCCESS; }
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice) { memset(uuid, 0, sizeof *uuid); return CUDA_SUCCESS; }
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) { *bytes = emu_memory_limit(); return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice) {
    switch (which) {
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *found, CUdevice) {
    if (!started) return CUDA_ERROR_NOT_INITIALIZED;
    ++context.retained;
    *found = &context;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { --context.retained; return CUDA_SUCCESS; }
CUresult cuCtxDestroy_v2(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext which) { bound = which; return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *which) { *which = bound; return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *which) { NEEDS_CONTEXT; *which = 0; return CUDA_SUCCESS; }
CUresult cuCtxSynchronize(void) { NEEDS_CONTEXT; return CUDA_SUCCESS; }

CUresult cuStreamCreate(CUstream *made, unsigned flags) { NEEDS_CONTEXT; *made = new CUstream_st{flags}; return CUDA_SUCCESS; }
CUresult cuStreamCreateWithPriority(CUstream *made, unsigned flags, int) { return cuStreamCreate(made, flags); }
CUresult cuStreamDestroy_v2(CUstream stream) { delete stream; return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuStreamQuery(CUstream) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned) { NEEDS_CONTEXT; return CUDA_SUCCESS; }
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) { *status = CU_STREAM_CAPTURE_STATUS_NONE; return CUDA_SUCCESS; }
CUresult cuEventCreate(CUevent *made, unsigned) { NEEDS_CONTEXT; *made = new CUevent_st{}; return CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(CUevent event) { delete event; return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream) {
    NEEDS_CONTEXT;
    event->at = std::chrono::steady_clock::now();
    event->recorded = true;
    return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent) { return CUDA_SUCCESS; }
CUresult cuEventQuery(CUevent) { return CUDA_SUCCESS; }
CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent first, CUevent last) {
    if (!first->recorded || !last->recorded) return CUDA_ERROR_INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(last->at - first->at).count();
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *made, size_t bytes) {
    NEEDS_CONTEXT;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    void *at = emu_allocate(bytes);
    *made = reinterpret_cast<CUdeviceptr>(at);
    return at ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemAllocAsync(CUdeviceptr *made, size_t bytes, CUstream) {
    NEEDS_CONTEXT;
    *made = 0;
    return bytes == 0 ? CUDA_SUCCESS : cuMemAlloc_v2(made, bytes);
}
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *made, size_t bytes, CUmemoryPool, CUstream stream) { return cuMemAllocAsync(made, bytes, stream); }
CUresult cuMemFree_v2(CUdeviceptr at) {
    NEEDS_CONTEXT;
    return at == 0 || emu_free(pointer(at)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemFreeAsync(CUdeviceptr at, CUstream) { return cuMemFree_v2(at); }
CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    NEEDS_CONTEXT;
    *total = emu_memory_limit();
    *free = *total - emu_memory_used();
    return CUDA_SUCCESS;
}
CUresult cuMemAllocHost_v2(void **made, size_t bytes) { *made = malloc(bytes ? bytes : 1); return *made ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY; }
CUresult cuMemHostAlloc(void **made, size_t bytes, unsigned) { return cuMemAllocHost_v2(made, bytes); }
CUresult cuMemFreeHost(void *at) { free(at); return CUDA_SUCCESS; }
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) { *pool = reinterpret_cast<CUmemoryPool>(8); return CUDA_SUCCESS; }
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice at) { return cuDeviceGetDefaultMemPool(pool, at); }
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return CUDA_SUCCESS; }
CUresult cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute, void *value) { *static_cast<cuuint64_t *>(value) = emu_memory_used(); return CUDA_SUCCESS; }
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) { return CUDA_SUCCESS; }

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    NEEDS_CONTEXT;
    if (!device_memory(to, bytes, "copy to the device")) return CUDA_ERROR_INVALID_VALUE;
    if (bytes) memcpy(pointer(to), from, bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    NEEDS_CONTEXT;
    if (!device_memory(from, bytes, "copy from the device")) return CUDA_ERROR_INVALID_VALUE;
    if (bytes) memcpy(to, pointer(from), bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    NEEDS_CONTEXT;
    if (!device_memory(to, bytes, "target of a copy") || !device_memory(from, bytes, "source of a copy")) return CUDA_ERROR_INVALID_VALUE;
    if (bytes) memmove(pointer(to), pointer(from), bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream) { return cuMemcpyHtoD_v2(to, from, bytes); }
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream) { return cuMemcpyDtoH_v2(to, from, bytes); }
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) { return cuMemcpyDtoD_v2(to, from, bytes); }
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t bytes, CUstream) { return cuMemcpyDtoD_v2(to, from, bytes); }
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t count, CUstream) {
    NEEDS_CONTEXT;
    if (!device_memory(at, count, "memset")) return CUDA_ERROR_INVALID_VALUE;
    if (count) memset(pointer(at), value, count);
    return CUDA_SUCCESS;
}
CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char value, size_t count) { return cuMemsetD8Async(at, value, count, nullptr); }
CUresult cuMemsetD16Async(CUdeviceptr at, unsigned short value, size_t count, CUstream) {
    NEEDS_CONTEXT;
    if (!device_memory(at, 2 * count, "memset")) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) static_cast<unsigned short *>(pointer(at))[i] = value;
    return CUDA_SUCCESS;
}
CUresult cuMemsetD32Async(CUdeviceptr at, unsigned value, size_t count, CUstream) {
    NEEDS_CONTEXT;
    if (!device_memory(at, 4 * count, "memset")) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) static_cast<unsigned *>(pointer(at))[i] = value;
    return CUDA_SUCCESS;
}

// The host build whose kernels are the ones that this PTX names: another set means that the two are of different sources.
CUresult cuModuleLoadData(CUmodule *made, const void *image) {
    NEEDS_CONTEXT;
    std::lock_guard guard(device);
    const std::set<std::string> wanted = entries(static_cast<const char *>(image));
    for (const Source &source : sources()) {
        std::set<std::string> names;
        for (unsigned i = 0; i < source.count; ++i) names.insert(source.kernels[i].name);
        if (names != wanted) continue;
        auto *module = new CUmod_st;
        for (unsigned i = 0; i < source.count; ++i) module->kernels.emplace_back(source.kernels[i].name, &source.kernels[i]);
        *made = module;
        return CUDA_SUCCESS;
    }
    fprintf(stderr, "host emulation: no host build of the module with the %zu kernels `%s`...: run tests/cuda_on_host/build.py\n", wanted.size(),
            wanted.empty() ? "" : wanted.begin()->c_str());
    return CUDA_ERROR_INVALID_PTX;
}
CUresult cuModuleLoadDataEx(CUmodule *made, const void *image, unsigned, CUjit_option *, void **) { return cuModuleLoadData(made, image); }
CUresult cuModuleLoad(CUmodule *, const char *) { return CUDA_ERROR_FILE_NOT_FOUND; }
CUresult cuModuleUnload(CUmodule module) { delete module; return CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *found, CUmodule module, const char *name) {
    NEEDS_CONTEXT;
    std::lock_guard guard(device);
    for (auto &[known, kernel] : module->kernels) {
        if (known != name) continue;
        *found = &functions().try_emplace(kernel, CUfunc_st{kernel, (48u << 10) - std::min(kernel->static_shared, 48u << 10)}).first->second;
        return CUDA_SUCCESS;
    }
    fprintf(stderr, "host emulation: no kernel `%s`\n", name);
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
    if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
    if (value < 0 || unsigned(value) + function->kernel->static_shared > 227u << 10) return CUDA_ERROR_INVALID_VALUE;
    function->dynamic_limit = size_t(value);
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function) {
    const EmuKernel &kernel = *function->kernel;
    switch (which) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = kernel.max_threads ? int(kernel.max_threads) : 1024; break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = int(kernel.static_shared); break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = int(kernel.registers); break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                        CUstream, void **parameters, void **) {
    NEEDS_CONTEXT;
    std::lock_guard guard(device);
    const EmuKernel &kernel = *function->kernel;
    static const bool traced = getenv("SWEEP_EMU_TRACE") != nullptr;
    if (traced) fprintf(stderr, "launch %s <<<(%u, %u, %u), (%u, %u, %u), %u>>>\n", kernel.name, gx, gy, gz, bx, by, bz, shared);
    auto refused = [&](const char *why, CUresult code) {
        fprintf(stderr, "host emulation: %s <<<(%u, %u, %u), (%u, %u, %u), %u>>>: %s\n", kernel.name, gx, gy, gz, bx, by, bz, shared, why);
        return code;
    };
    const size_t threads = size_t(bx) * by * bz;
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || gx > 0x7fffffffu) return refused("bad grid", CUDA_ERROR_INVALID_VALUE);
    if (!threads || threads > 1024 || bz > 64) return refused("bad block", CUDA_ERROR_INVALID_VALUE);
    if (kernel.max_threads && threads > kernel.max_threads) return refused("more threads than __launch_bounds__ has", CUDA_ERROR_INVALID_VALUE);
    if (shared > function->dynamic_limit) return refused("too much shared memory", CUDA_ERROR_INVALID_VALUE);
    // Registers are given to a warp in units of 256, and a multiprocessor has 65,536.
    const size_t warp_registers = (kernel.registers * 32 + 255) / 256 * 256;
    if ((threads + 31) / 32 * warp_registers > 65536) return refused("more registers than there are", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    for (unsigned i = 0; i < kernel.parameters; ++i) {
        if (!kernel.pointers[i]) continue;
        const void *at = *static_cast<void **>(parameters[i]);
        const std::string what = std::string("parameter ") + std::to_string(i) + " of " + kernel.name;
        if (at && !emu_is_device_memory(at, 0, what.c_str())) return refused("a pointer that is none of the device's", CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    emu_run(kernel, {gx, gy, gz}, {bx, by, bz}, shared, parameters);
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction, int threads, size_t) { *blocks = 2048 / std::max(threads, 32); return CUDA_SUCCESS; }
CUresult cuProfilerStart(void) { return CUDA_SUCCESS; }
CUresult cuProfilerStop(void) { return CUDA_SUCCESS; }
}
