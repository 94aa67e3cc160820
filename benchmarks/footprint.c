/* Streams a model: seconds until the first prediction, time of a step, largest resident memory. Arguments: steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

static _Alignas(MODEL_ALIGNMENT) unsigned char memory[MODEL_MEMORY];
static float x[MODEL_X_WORDS], y[MODEL_Y_WORDS];

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double peak_megabytes(void) {
    char line[256];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "VmHWM:", 6))
            kilobytes = atol(line + 6);
    return (double)kilobytes / 1024;
}

int main(int count, char **arguments) {
    int steps = count > 1 ? atoi(arguments[1]) : 1000;
    double start = seconds(), best = 1e9;
    model_stream *stream = model_create(memory, sizeof memory);
    for (unsigned i = 0; i < MODEL_X_WORDS; i++)
        x[i] = 0.125f * (float)(i % 16) - 1.0f;
    if (!stream || model_step(stream, x, y) != MODEL_OK)
        return 1;
    double first = seconds() - start;
    for (int round = 0; round < 5; round++) {
        double begin = seconds();
        for (int i = 0; i < steps; i++)
            model_step(stream, x, y);
        double took = (seconds() - begin) / steps;
        best = took < best ? took : best;
    }
    printf("{\"first\": %.9f, \"step\": %.12f, \"peak\": %.3f}\n", first, best, peak_megabytes());
    return 0;
}
