// libcudnn.so.9 of the host emulation: 4-D tensors and filters of any format or strides, and convolutions of one group, forward and
// both gradients, summed in f32. Workspaces are asked for and overwritten, so that a caller who gives none is found.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "engine.h"

namespace {
enum Status { OK = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };
enum Type { FLOAT = 0, DOUBLE = 1, HALF = 2, BFLOAT16 = 9 };
struct Handle { void *stream; };
// Sizes and distances in the order n, c, h, w (of a filter: outputs, inputs, h, w).
struct Tensor { int type, size[4], stride[4], format; };
struct Convolution { int pad[2], step[2], dilation[2], mode, compute, math, groups; };

size_t width(int type) { return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2; }
bool known(int type) { return type == FLOAT || type == DOUBLE || type == HALF || type == BFLOAT16; }
double read(const void *from, int type, int64_t at) {
    switch (type) {
        case DOUBLE: return static_cast<const double *>(from)[at];
        case FLOAT: return double(static_cast<const float *>(from)[at]);
        case BFLOAT16: return double(__bfloat162float(static_cast<const __nv_bfloat16 *>(from)[at]));
        default: return double(__half2float(static_cast<const __half *>(from)[at]));
    }
}
void write(void *to, int type, int64_t at, double value) {
    switch (type) {
        case DOUBLE: static_cast<double *>(to)[at] = value; break;
        case FLOAT: static_cast<float *>(to)[at] = float(value); break;
        case BFLOAT16: static_cast<__nv_bfloat16 *>(to)[at] = __float2bfloat16(float(value)); break;
        default: static_cast<__half *>(to)[at] = __float2half(float(value));
    }
}
int set(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    if (!tensor || !known(type) || n <= 0 || c <= 0 || h <= 0 || w <= 0) return BAD_PARAM;
    if (format == 0)
        *tensor = {type, {n, c, h, w}, {c * h * w, h * w, w, 1}, 0};
    else if (format == 1)
        *tensor = {type, {n, c, h, w}, {c * h * w, 1, w * c, c}, 1};
    else
        return NOT_SUPPORTED;
    return OK;
}
size_t bytes(const Tensor &tensor) {
    int64_t last = 0;
    for (int i = 0; i < 4; ++i) last += int64_t(tensor.size[i] - 1) * tensor.stride[i];
    return size_t(last + 1) * width(tensor.type);
}
int extent(const Tensor &x, const Tensor &weight, const Convolution &conv, int axis) {
    const int reach = conv.dilation[axis] * (weight.size[2 + axis] - 1) + 1;
    return (x.size[2 + axis] + 2 * conv.pad[axis] - reach) / conv.step[axis] + 1;
}
int check(const Tensor *x, const Tensor *weight, const Convolution *conv, const Tensor *y) {
    if (!x || !weight || !conv || !y) return BAD_PARAM;
    const bool fits = weight->size[1] * conv->groups == x->size[1] && weight->size[0] == y->size[1] && x->size[0] == y->size[0] &&
                      extent(*x, *weight, *conv, 0) == y->size[2] && extent(*x, *weight, *conv, 1) == y->size[3];
    if (!fits) {
        fprintf(stderr, "host emulation: cuDNN: x [%d, %d, %d, %d], weight [%d, %d, %d, %d] and y [%d, %d, %d, %d] do not fit\n", x->size[0], x->size[1], x->size[2],
                x->size[3], weight->size[0], weight->size[1], weight->size[2], weight->size[3], y->size[0], y->size[1], y->size[2], y->size[3]);
        return BAD_PARAM;
    }
    if (x->type != y->type || x->type != weight->type) return BAD_PARAM;
    // bf16 and f16 with f32 sums; a channels-last filter only with channels-last maps.
    if (conv->compute != FLOAT || x->type == DOUBLE) return NOT_SUPPORTED;
    if (conv->groups != 1) return NOT_SUPPORTED;
    if (weight->format == 1 && (x->stride[1] != 1 || y->stride[1] != 1)) return NOT_SUPPORTED;
    return OK;
}
// Not what a GPU's cuDNN asks for: some bytes, so that they must be there.
size_t workspace_size(const Tensor &x) { return 16 + size_t(x.size[0]) * 4; }

// Calls f(index in x, in the weight, in y) for every product of the convolution.
template <typename F> void each(const Tensor &x, const Tensor &weight, const Convolution &conv, const Tensor &y, F f) {
    for (int n = 0; n < y.size[0]; ++n)
        for (int o = 0; o < y.size[1]; ++o)
            for (int p = 0; p < y.size[2]; ++p)
                for (int q = 0; q < y.size[3]; ++q) {
                    const int64_t to = int64_t(n) * y.stride[0] + int64_t(o) * y.stride[1] + int64_t(p) * y.stride[2] + int64_t(q) * y.stride[3];
                    for (int r = 0; r < weight.size[2]; ++r)
                        for (int s = 0; s < weight.size[3]; ++s) {
                            // A true convolution turns the filter round.
                            const int kr = conv.mode == 1 ? r : weight.size[2] - 1 - r, ks = conv.mode == 1 ? s : weight.size[3] - 1 - s;
                            const int h = p * conv.step[0] - conv.pad[0] + r * conv.dilation[0], w = q * conv.step[1] - conv.pad[1] + s * conv.dilation[1];
                            if (h < 0 || w < 0 || h >= x.size[2] || w >= x.size[3]) continue;
                            int64_t from = int64_t(n) * x.stride[0] + int64_t(h) * x.stride[2] + int64_t(w) * x.stride[3];
                            int64_t by = int64_t(o) * weight.stride[0] + int64_t(kr) * weight.stride[2] + int64_t(ks) * weight.stride[3];
                            for (int c = 0; c < x.size[1]; ++c, from += x.stride[1], by += weight.stride[1]) f(from, by, to);
                        }
                }
}
std::vector<float> unpack(const Tensor &tensor, const void *from) {
    std::vector<float> values(bytes(tensor) / width(tensor.type));
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(read(from, tensor.type, int64_t(i)));
    return values;
}
// Writes the places of `tensor` that belong to it: alpha sums + beta what was there.
int finish(const Tensor &tensor, void *to, const std::vector<float> &sums, const void *alpha, const void *beta) {
    const float a = *static_cast<const float *>(alpha), b = *static_cast<const float *>(beta);
    for (int n = 0; n < tensor.size[0]; ++n)
        for (int c = 0; c < tensor.size[1]; ++c)
            for (int h = 0; h < tensor.size[2]; ++h)
                for (int w = 0; w < tensor.size[3]; ++w) {
                    const int64_t at = int64_t(n) * tensor.stride[0] + int64_t(c) * tensor.stride[1] + int64_t(h) * tensor.stride[2] + int64_t(w) * tensor.stride[3];
                    const float before = b == 0 ? 0 : b * float(read(to, tensor.type, at));
                    write(to, tensor.type, at, double(a * sums[size_t(at)] + before));
                }
    return OK;
}
bool lie_on_device(const Tensor &a, const void *at_a, const Tensor &b, const void *at_b, const Tensor &to, const void *at_to) {
    return emu_is_device_memory(at_a, bytes(a), "first operand of a convolution") && emu_is_device_memory(at_b, bytes(b), "second operand of a convolution") &&
           emu_is_device_memory(at_to, bytes(to), "result of a convolution");
}
int use(void *workspace, size_t given, size_t needed) {
    if (given < needed || !emu_is_device_memory(workspace, given, "workspace of a convolution")) return BAD_PARAM;
    memset(workspace, 0xff, given);
    return OK;
}
}  // namespace

extern "C" {
size_t cudnnGetVersion(void) { return 91300; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int) { return "a status of the host emulation"; }
int cudnnAdvVersionCheck(void) { return OK; }
int cudnnCnnVersionCheck(void) { return OK; }
int cudnnOpsVersionCheck(void) { return OK; }
int cudnnCreate(Handle **made) { *made = new Handle{}; return OK; }
int cudnnDestroy(Handle *handle) { delete handle; return OK; }
int cudnnSetStream(Handle *handle, void *stream) { handle->stream = stream; return OK; }
int cudnnCreateTensorDescriptor(Tensor **made) { *made = new Tensor{}; return OK; }
int cudnnDestroyTensorDescriptor(Tensor *tensor) { delete tensor; return OK; }
int cudnnCreateFilterDescriptor(Tensor **made) { *made = new Tensor{}; return OK; }
int cudnnDestroyFilterDescriptor(Tensor *tensor) { delete tensor; return OK; }
int cudnnCreateConvolutionDescriptor(Convolution **made) { *made = new Convolution{}; return OK; }
int cudnnDestroyConvolutionDescriptor(Convolution *conv) { delete conv; return OK; }

int cudnnSetTensor4dDescriptor(Tensor *tensor, int format, int type, int n, int c, int h, int w) { return set(tensor, format, type, n, c, h, w); }
int cudnnSetTensor4dDescriptorEx(Tensor *tensor, int type, int n, int c, int h, int w, int sn, int sc, int sh, int sw) {
    if (const int status = set(tensor, 0, type, n, c, h, w)) return status;
    tensor->stride[0] = sn, tensor->stride[1] = sc, tensor->stride[2] = sh, tensor->stride[3] = sw;
    tensor->format = sc == 1 ? 1 : 0;
    return OK;
}
int cudnnSetTensorNdDescriptor(Tensor *tensor, int type, int dims, const int *size, const int *stride) {
    if (dims != 4) return NOT_SUPPORTED;
    return cudnnSetTensor4dDescriptorEx(tensor, type, size[0], size[1], size[2], size[3], stride[0], stride[1], stride[2], stride[3]);
}
int cudnnSetFilter4dDescriptor(Tensor *weight, int type, int format, int k, int c, int h, int w) { return set(weight, format, type, k, c, h, w); }
int cudnnSetConvolution2dDescriptor(Convolution *conv, int ph, int pw, int u, int v, int dh, int dw, int mode, int compute) {
    if (ph < 0 || pw < 0 || u <= 0 || v <= 0 || dh <= 0 || dw <= 0) return BAD_PARAM;
    *conv = {{ph, pw}, {u, v}, {dh, dw}, mode, compute, 0, 1};
    return OK;
}
int cudnnSetConvolutionMathType(Convolution *conv, int math) { conv->math = math; return OK; }
int cudnnSetConvolutionGroupCount(Convolution *conv, int groups) { conv->groups = groups; return OK; }

int cudnnGetConvolution2dForwardOutputDim(Convolution *conv, Tensor *x, Tensor *weight, int *n, int *c, int *h, int *w) {
    *n = x->size[0], *c = weight->size[0], *h = extent(*x, *weight, *conv, 0), *w = extent(*x, *weight, *conv, 1);
    return OK;
}
int cudnnGetConvolutionForwardWorkspaceSize(Handle *, Tensor *x, Tensor *weight, Convolution *conv, Tensor *y, int, size_t *size) {
    *size = workspace_size(*x);
    return check(x, weight, conv, y);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *, Tensor *weight, Tensor *dy, Convolution *conv, Tensor *dx, int, size_t *size) {
    *size = workspace_size(*dx);
    return check(dx, weight, conv, dy);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *, Tensor *x, Tensor *dy, Convolution *conv, Tensor *dweight, int, size_t *size) {
    *size = workspace_size(*x);
    return check(x, dweight, conv, dy);
}
// The heuristics' answer has one entry: algorithm 1 of each direction, deterministic.
struct Answer { int algorithm, status; float time; size_t memory; int determinism, math, reserved[3]; };
int one_answer(int wanted, int *count, Answer *answers, size_t memory) {
    *count = wanted > 0;
    if (wanted > 0) answers[0] = {1, OK, 1.0f, memory, 1, 0, {}};
    return OK;
}
int cudnnGetConvolutionForwardAlgorithm_v7(Handle *, Tensor *x, Tensor *, Convolution *, Tensor *, int wanted, int *count, Answer *answers) { return one_answer(wanted, count, answers, workspace_size(*x)); }
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, Tensor *, Tensor *, Convolution *, Tensor *dx, int wanted, int *count, Answer *answers) { return one_answer(wanted, count, answers, workspace_size(*dx)); }
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, Tensor *x, Tensor *, Convolution *, Tensor *, int wanted, int *count, Answer *answers) { return one_answer(wanted, count, answers, workspace_size(*x)); }

int cudnnConvolutionForward(Handle *, const void *alpha, Tensor *x, const void *at_x, Tensor *weight, const void *at_weight, Convolution *conv, int, void *workspace,
                            size_t given, const void *beta, Tensor *y, void *at_y) {
    if (const int status = check(x, weight, conv, y)) return status;
    if (const int status = use(workspace, given, workspace_size(*x))) return status;
    if (!lie_on_device(*x, at_x, *weight, at_weight, *y, at_y)) return EXECUTION_FAILED;
    const std::vector<float> values = unpack(*x, at_x), weights = unpack(*weight, at_weight);
    std::vector<float> sums(bytes(*y) / width(y->type));
    each(*x, *weight, *conv, *y, [&](int64_t i, int64_t k, int64_t o) { sums[size_t(o)] += values[size_t(i)] * weights[size_t(k)]; });
    return finish(*y, at_y, sums, alpha, beta);
}
int cudnnConvolutionBackwardData(Handle *, const void *alpha, Tensor *weight, const void *at_weight, Tensor *dy, const void *at_dy, Convolution *conv, int, void *workspace,
                                 size_t given, const void *beta, Tensor *dx, void *at_dx) {
    if (const int status = check(dx, weight, conv, dy)) return status;
    if (const int status = use(workspace, given, workspace_size(*dx))) return status;
    if (!lie_on_device(*weight, at_weight, *dy, at_dy, *dx, at_dx)) return EXECUTION_FAILED;
    const std::vector<float> slopes = unpack(*dy, at_dy), weights = unpack(*weight, at_weight);
    std::vector<float> sums(bytes(*dx) / width(dx->type));
    each(*dx, *weight, *conv, *dy, [&](int64_t i, int64_t k, int64_t o) { sums[size_t(i)] += slopes[size_t(o)] * weights[size_t(k)]; });
    return finish(*dx, at_dx, sums, alpha, beta);
}
int cudnnConvolutionBackwardFilter(Handle *, const void *alpha, Tensor *x, const void *at_x, Tensor *dy, const void *at_dy, Convolution *conv, int, void *workspace, size_t given,
                                   const void *beta, Tensor *dweight, void *at_dweight) {
    if (const int status = check(x, dweight, conv, dy)) return status;
    if (const int status = use(workspace, given, workspace_size(*x))) return status;
    if (!lie_on_device(*x, at_x, *dy, at_dy, *dweight, at_dweight)) return EXECUTION_FAILED;
    const std::vector<float> slopes = unpack(*dy, at_dy), values = unpack(*x, at_x);
    std::vector<float> sums(bytes(*dweight) / width(dweight->type));
    each(*x, *dweight, *conv, *dy, [&](int64_t i, int64_t k, int64_t o) { sums[size_t(k)] += slopes[size_t(o)] * values[size_t(i)]; });
    return finish(*dweight, at_dweight, sums, alpha, beta);
}
}
