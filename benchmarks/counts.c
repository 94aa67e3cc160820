/* One step of one of the models, as often as asked: what callgrind counts. @NAMES@ stands for X(name, NAME) of each. */
#include <stdlib.h>
#include <string.h>

@INCLUDES@

#define X(name, NAME)                                                                    \
    static void steps_##name(int count) {                                                \
        static _Alignas(NAME##_ALIGNMENT) unsigned char memory[NAME##_MEMORY];           \
        static float x[NAME##_X_WORDS], y[NAME##_Y_WORDS];                               \
        name##_stream *stream = name##_create(memory, sizeof memory);                    \
        for (unsigned i = 0; i < NAME##_X_WORDS; i++)                                    \
            x[i] = 0.125f * (float)(i % 16) - 1.0f;                                      \
        for (int step = 0; step < count; step++)                                         \
            if (name##_step(stream, x, y) != NAME##_OK)                                  \
                exit(1);                                                                 \
    }
@NAMES@
#undef X

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
#define X(name, NAME)                      \
    if (!strcmp(arguments[1], #name)) {    \
        steps_##name(atoi(arguments[2]));  \
        return 0;                          \
    }
    @NAMES@
    return 2;
}
