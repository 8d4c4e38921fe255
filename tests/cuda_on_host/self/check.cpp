// Whether the emulation finds what it says it finds: check FAULTS.ptx. Faults that end the process are met in a child.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <cuda.h>

static CUmodule module;
static int failed;
static void expect(bool held, const char *what) {
    printf("%s: %s\n", held ? "ok" : "FAILED", what);
    failed += !held;
}
static CUfunction kernel(const char *name) {
    CUfunction found;
    if (cuModuleGetFunction(&found, module, name) != CUDA_SUCCESS) exit(2);
    return found;
}
static CUdeviceptr device(const std::vector<float> &values) {
    CUdeviceptr at;
    if (cuMemAlloc_v2(&at, values.size() * 4) != CUDA_SUCCESS) exit(2);
    cuMemcpyHtoD_v2(at, values.data(), values.size() * 4);
    return at;
}
static std::vector<float> host(CUdeviceptr at, size_t count) {
    std::vector<float> values(count);
    cuMemcpyDtoH_v2(values.data(), at, count * 4);
    return values;
}
// Whether `body` ends its process.
template <typename F> static bool dies(F body) {
    fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        body();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

int main(int, char **arguments) {
    CUcontext context;
    CUdevice gpu;
    char name[64];
    cuInit(0), cuDeviceGet(&gpu, 0), cuDevicePrimaryCtxRetain(&context, gpu);
    cuDeviceGetName(name, sizeof name, gpu);
    expect(!strcmp(name, "host emulation"), "the device is called what it is");
    CUdeviceptr none;
    expect(cuMemAlloc_v2(&none, 4) == CUDA_ERROR_INVALID_CONTEXT, "no context, no memory");
    cuCtxSetCurrent(context);
    std::ifstream file(arguments[1]);
    std::stringstream ptx;
    ptx << file.rdbuf();
    if (cuModuleLoadData(&module, ptx.str().c_str()) != CUDA_SUCCESS) return 2;

    std::vector<float> values(96);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
    CUdeviceptr from = device(values), to = device(values);
    int count = 90;
    void *sum[] = {&from, &count, &to};
    expect(cuLaunchKernel(kernel("block_sum"), 1, 1, 1, 96, 1, 1, 0, nullptr, sum, nullptr) == CUDA_SUCCESS && host(to, 1)[0] == 89 * 90 / 2, "shuffles and barriers add up");
    CUdeviceptr fresh;
    cuMemAlloc_v2(&fresh, 16);
    expect(std::isnan(host(fresh, 4)[3]), "memory begins as NaN");

    // First to last, a thread reads its neighbour before that one has written: NaN, but for the last.
    void *unsynchronised[] = {&from, &to};
    cuLaunchKernel(kernel("no_barrier"), 1, 1, 1, 64, 1, 1, 0, nullptr, unsynchronised, nullptr);
    expect(std::isnan(host(to, 64)[0]), "a missing barrier shows");
    void *one[] = {&to};
    expect(dies([&] { cuLaunchKernel(kernel("unequal_barrier"), 1, 1, 1, 64, 1, 1, 0, nullptr, one, nullptr); }), "threads at different barriers are found");
    int beyond = 33;
    void *out[] = {&to, &beyond};
    expect(!dies([&] { cuLaunchKernel(kernel("beyond"), 1, 1, 1, 63, 1, 1, 0, nullptr, out, nullptr); }), "the last number of a buffer may be written");
    expect(dies([&] { cuLaunchKernel(kernel("beyond"), 1, 1, 1, 64, 1, 1, 0, nullptr, out, nullptr); }), "the number behind it may not");
    expect(cuLaunchKernel(kernel("beyond"), 0, 1, 1, 64, 1, 1, 0, nullptr, out, nullptr) == CUDA_ERROR_INVALID_VALUE, "no blocks: refused");
    expect(cuLaunchKernel(kernel("beyond"), 1, 1, 1, 1025, 1, 1, 0, nullptr, out, nullptr) == CUDA_ERROR_INVALID_VALUE, "1,025 threads: refused");
    expect(cuLaunchKernel(kernel("beyond"), 1, 1, 1, 64, 1, 1, 49153, nullptr, out, nullptr) == CUDA_ERROR_INVALID_VALUE, "too much shared memory: refused");
    CUdeviceptr of_host = reinterpret_cast<CUdeviceptr>(values.data());
    void *wrong[] = {&of_host, &beyond};
    expect(cuLaunchKernel(kernel("beyond"), 1, 1, 1, 1, 1, 1, 0, nullptr, wrong, nullptr) == CUDA_ERROR_ILLEGAL_ADDRESS, "the host's memory is none of the device's");
    expect(cuMemcpyHtoD_v2(to, values.data(), 97 * 4) == CUDA_ERROR_INVALID_VALUE, "a copy beyond a buffer: refused");
    expect(cuMemFree_v2(to) == CUDA_SUCCESS && cuMemFree_v2(to) == CUDA_ERROR_INVALID_VALUE, "freed once");
    void *gone[] = {&to, &beyond};
    expect(cuLaunchKernel(kernel("beyond"), 1, 1, 1, 1, 1, 1, 0, nullptr, gone, nullptr) == CUDA_ERROR_ILLEGAL_ADDRESS, "freed memory is none");
    expect(cuMemAlloc_v2(&none, size_t(1) << 40) == CUDA_ERROR_OUT_OF_MEMORY, "a terabyte: out of memory");
    return failed != 0;
}
