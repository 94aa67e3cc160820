/* One reading a line in, one forecast a line out; the state is kept in a file. See README.md. */
#include <stdio.h>

#include "model.h"

static _Alignas(MODEL_ALIGNMENT) unsigned char memory[MODEL_MEMORY];
static unsigned char snapshot[MODEL_SNAPSHOT_BYTES];

/* Take the state of an earlier run, if there is one. */
static void resume(model_stream *stream, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return;
    size_t bytes = fread(snapshot, 1, sizeof snapshot, file);
    if (model_restore(stream, snapshot, bytes) != MODEL_OK)
        fprintf(stderr, "%s is not a state of this model: starting anew\n", path);
    fclose(file);
}

/* Write beside and rename, so that a power cut leaves the old state or the new one. */
static int keep(const model_stream *stream, const char *path) {
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return 0;
    model_snapshot(stream, snapshot, sizeof snapshot);
    FILE *file = fopen(beside, "wb");
    if (!file)
        return 0;
    int written = fwrite(snapshot, sizeof snapshot, 1, file) == 1;
    return fclose(file) == 0 && written && rename(beside, path) == 0;
}

int main(int count, char **arguments) {
    model_stream *stream = model_create(memory, sizeof memory);
    float x[MODEL_X_WORDS], y[MODEL_Y_WORDS];
    if (!stream)
        return 2;
    if (count > 1)
        resume(stream, arguments[1]);
    for (;;) {
        for (unsigned i = 0; i < MODEL_X_WORDS; i++)
            if (scanf("%f", &x[i]) != 1)
                return 0;
        int status = model_step(stream, x, y);
        if (status == MODEL_INVALID) {
            fprintf(stderr, "a reading is not a finite number: left out\n");
            continue;
        }
        if (status == MODEL_OK) {
            for (unsigned i = 0; i < MODEL_Y_WORDS; i++)
                printf(i + 1 < MODEL_Y_WORDS ? "%g " : "%g\n", (double)y[i]);
            fflush(stdout);
        }
        if (count > 1 && !keep(stream, arguments[1])) {
            fprintf(stderr, "%s cannot be written\n", arguments[1]);
            return 1;
        }
    }
}
