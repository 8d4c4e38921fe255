/* Preloaded into `sweep`, which counts GPUs by the driver's folder: shows one there, without touching the machine's /proc or /dev. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

DIR *opendir(const char *path) {
    DIR *(*real)(const char *) = (DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir");
    const char *gpus = getenv("SWEEP_EMU_GPUS");
    return real(gpus && strcmp(path, "/proc/driver/nvidia/gpus") == 0 ? gpus : path);
}
