/* Streams the golden readings through the model and compares every prediction, bit for bit (exit code 0: all equal).
 *
 *     cc -O2 example.c lib@NAME@.a -o example
 *     ./example golden.bin
 *
 * On another machine than the one that builds: @CROSS@
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "@NAME@.h"

static _Alignas(@GUARD@_ALIGNMENT) unsigned char memory[@GUARD@_MEMORY];
static float x[@GUARD@_X_WORDS + 1], y[@GUARD@_Y_WORDS + 1], expected[@GUARD@_Y_WORDS + 1];
static unsigned char snapshot[@GUARD@_SNAPSHOT_BYTES + 1];

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int differs(const float *a, const float *b) {
    if (@EXACT@)
        return memcmp(a, b, 4 * @GUARD@_Y_WORDS) != 0;
    for (unsigned i = 0; i < @GUARD@_Y_WORDS; i++) {
        float apart = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
        if (!(apart <= @TOLERANCE@ + @TOLERANCE@ * (b[i] < 0 ? -b[i] : b[i])))
            return 1;
    }
    return 0;
}

int main(int count, char **arguments) {
    FILE *file = fopen(count > 1 ? arguments[1] : "golden.bin", "rb");
    int repeats = count > 2 ? atoi(arguments[2]) : 0;
    @NAME@_stream *stream = @NAME@_create(memory, sizeof memory);
    int wrong = 0;
    if (!file || !stream) {
        fprintf(stderr, "golden.bin cannot be read\n");
        return 2;
    }
    for (int step = 0; step < @STEPS@; step++) {
        if (fread(x, 4, @GUARD@_X_WORDS, file) != @GUARD@_X_WORDS)
            return 2;
        if (step == @STEPS@ / 2) { /* to bytes and back, through another state */
            @NAME@_snapshot(stream, snapshot, sizeof snapshot);
            @NAME@_reset(stream);
            if (@NAME@_restore(stream, snapshot, @GUARD@_SNAPSHOT_BYTES) != @GUARD@_OK)
                return 2;
        }
        int status = @NAME@_step(stream, x, y);
        if (status == @GUARD@_NO_OUTPUT)
            continue;
        if (status != @GUARD@_OK || fread(expected, 4, @GUARD@_Y_WORDS, file) != @GUARD@_Y_WORDS)
            return 2;
        wrong += differs(y, expected);
    }
    fclose(file);
    printf("%d steps, %d wrong\n", @STEPS@, wrong);
    if (repeats) {
        double start = seconds();
        for (int i = 0; i < repeats; i++)
            @NAME@_step(stream, x, y);
        printf("%.3f us a step\n", 1e6 * (seconds() - start) / repeats);
    }
    return wrong != 0;
}
