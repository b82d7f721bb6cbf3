/* The NPU's device node, so that tests can see who holds it and how many handles it has given out.
 *
 * RKLLM_SIM_DEVICE names a file that stands for it; without one there is none. A handle is an open
 * descriptor of it and a lock on a byte of its own, which the kernel takes back when the descriptor
 * is closed or its process ends, as a driver does with memory. `device.py` counts both. */
#define _GNU_SOURCE
#include "handle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define HANDLES_MAX 16

bool device_take(int *device) {
    const char *path = getenv("RKLLM_SIM_DEVICE");
    *device = -1;
    if (!path)
        return true;
    *device = open(path, O_RDWR | O_CLOEXEC);
    if (*device < 0)
        return false;
    for (int number = 0; number < HANDLES_MAX; number++) {
        struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = number, .l_len = 1};
        if (!fcntl(*device, F_OFD_SETLK, &byte))
            return true;
    }
    device_give(*device);
    log_line("failed to allocate handle, ret: -1, errno: 14, errstr: Bad address");
    return false;
}

void device_give(int device) {
    if (device >= 0)
        close(device);
}
