/* The model's data and the functions of its header, over the compiled interpreter. */
#include "@NAME@.h"

enum { STATUSES = @STATUSES@, SLOTS = @SLOTS@ };

static const _Alignas(64) unsigned char weights[] = {
#embed "weights.bin"
};
static const _Alignas(64) unsigned char code[] = {
#embed "code.bin"
};
static const _Alignas(64) unsigned char initial[] = {
#embed "state.bin"
};
static const unsigned char stamp[] = {
#embed "stamp.bin"
};

/* A named tensor: its arena, its first word there, its words. */
struct port {
    uint32_t arena, start, words;
};
static const struct port inputs[] = {@INPUT_PORTS@};
static const struct port outputs[] = {@OUTPUT_PORTS@};
static const struct port states[] = {@STATE_PORTS@{0, 0, 0}}; /* in the order of a snapshot */
static const struct port floats[] = {@FLOAT_PORTS@{0, 0, 0}};

enum {
    INPUTS = sizeof inputs / sizeof *inputs,
    OUTPUTS = sizeof outputs / sizeof *outputs,
    STATES = sizeof states / sizeof *states - 1,
    FLOATS = sizeof floats / sizeof *floats - 1
};

struct @NAME@_stream {
    int64_t context[SLOTS];
    int64_t floats[2 * FLOATS + 2];
    _Alignas(64) uint32_t state[@STATE_WORDS@];
    _Alignas(64) uint32_t scratch[@SCRATCH_WORDS@];
    uint32_t before[@BEFORE_WORDS@]; /* the state to go back to, where an index can stop a run halfway */
};
_Static_assert(sizeof(@NAME@_stream) <= @GUARD@_MEMORY, "the header's constant");

static unsigned char *place(const @NAME@_stream *stream, const struct port *port) {
    const void *arenas[] = {weights, stream->state, stream->scratch};
    return (unsigned char *)arenas[port->arena] + 4 * (size_t)port->start;
}

static int64_t address(const void *pointer) { return (int64_t)(uintptr_t)pointer; }

size_t @NAME@_memory(void) { return @GUARD@_MEMORY; }
size_t @NAME@_alignment(void) { return @GUARD@_ALIGNMENT; }
size_t @NAME@_x_words(void) { return @GUARD@_X_WORDS; }
size_t @NAME@_y_words(void) { return @GUARD@_Y_WORDS; }
size_t @NAME@_snapshot_bytes(void) { return @GUARD@_SNAPSHOT_BYTES; }
const char *@NAME@_model(void) { return "@HASH@"; }

@NAME@_stream *@NAME@_create(void *memory, size_t bytes) {
    @NAME@_stream *stream = memory;
    if (!memory || bytes < @GUARD@_MEMORY || (uintptr_t)memory % @GUARD@_ALIGNMENT)
        return 0;
    __builtin_memset(stream, 0, sizeof *stream);
    __builtin_memcpy(stream->state, initial, sizeof stream->state);
    for (int i = 0; i < FLOATS; i++) {
        stream->floats[2 * i] = address(place(stream, &floats[i]));
        stream->floats[2 * i + 1] = floats[i].words;
    }
    int64_t *context = stream->context;
    context[@CODE@] = address(code);
    context[@ROWS@] = @ROW_COUNT@;
    context[@BASE@] = address(weights);
    context[@BASE@ + 1] = address(stream->state);
    context[@BASE@ + 2] = address(stream->scratch);
    context[@BASE@ + 3] = @ABSENT_BASE@;
    context[@INPUT@] = address(place(stream, &inputs[0]));
    context[@INPUT_WORDS@] = inputs[0].words;
    context[@OUTPUT@] = address(place(stream, &outputs[0]));
    context[@OUTPUT_WORDS@] = outputs[0].words;
    context[@FLOATS@] = address(stream->floats);
    context[@FLOAT_COUNT@] = FLOATS;
    context[@CHECK@] = 1;
    context[@INTERPRETER@] = (int64_t)(uintptr_t)&edgelstm_machine_interpret;
    return stream;
}

void @NAME@_set_check(@NAME@_stream *stream, int check) { stream->context[@CHECK@] = check != 0; }

void @NAME@_reset(@NAME@_stream *stream) { __builtin_memcpy(stream->state, initial, sizeof stream->state); }

/* One step by way of the input and output ports; `given` tells whether there is a prediction. */
static int advance(@NAME@_stream *stream, const unsigned char *x, unsigned char *y, int *given) {
    uint32_t tick = @TICK@;
    *given = @STRIDE@ == 1 || (tick >= @FIRST@u && (tick - @FIRST@u) % @STRIDE@u == 0);
    for (int i = 0; i < INPUTS; i++) {
        __builtin_memcpy(place(stream, &inputs[i]), x, 4 * (size_t)inputs[i].words);
        x += 4 * (size_t)inputs[i].words;
    }
    if (@STOPS@)
        __builtin_memcpy(stream->before, stream->state, @STOPS@ * sizeof stream->state);
    int status = (int)edgelstm_machine_execute(address(stream->context), stream->context[@CHECK@]);
    if (@STOPS@ && status == @GUARD@_INDEX)
        __builtin_memcpy(stream->state, stream->before, @STOPS@ * sizeof stream->state);
    for (int i = 0; status == @GUARD@_OK && *given && i < OUTPUTS; i++) {
        __builtin_memcpy(y, place(stream, &outputs[i]), 4 * (size_t)outputs[i].words);
        y += 4 * (size_t)outputs[i].words;
    }
    return status;
}

int @NAME@_step(@NAME@_stream *stream, const void *x, void *y) {
    if (@SIMPLE@)
        return (int)(edgelstm_machine_run(address(stream->context), address(x), address(y), 1) % STATUSES);
    int given, status = advance(stream, x, y, &given);
    return status == @GUARD@_OK && !given ? @GUARD@_NO_OUTPUT : status;
}

int @NAME@_run(@NAME@_stream *stream, const void *xs, void *ys, size_t count, size_t *done) {
    const unsigned char *x = xs;
    unsigned char *y = ys;
    size_t taken = 0;
    int status = @GUARD@_OK;
    if (@SIMPLE@) {
        int64_t answer = edgelstm_machine_run(address(stream->context), address(xs), address(ys), (int64_t)count);
        taken = (size_t)(answer / STATUSES);
        status = (int)(answer % STATUSES);
    }
    while (!@SIMPLE@ && taken < count) {
        int given;
        status = advance(stream, x, y, &given);
        if (status != @GUARD@_OK)
            break;
        x += 4 * (size_t)@GUARD@_X_WORDS;
        y += given ? 4 * (size_t)@GUARD@_Y_WORDS : 0;
        taken++;
    }
    if (done)
        *done = taken;
    return status;
}

int @NAME@_snapshot(const @NAME@_stream *stream, void *blob, size_t bytes) {
    unsigned char *to = blob;
    if (bytes < @GUARD@_SNAPSHOT_BYTES)
        return @GUARD@_SIZE;
    __builtin_memcpy(to, stamp, sizeof stamp);
    to += sizeof stamp;
    for (int i = 0; i < STATES; i++) {
        __builtin_memcpy(to, place(stream, &states[i]), 4 * (size_t)states[i].words);
        to += 4 * (size_t)states[i].words;
    }
    return @GUARD@_OK;
}

int @NAME@_restore(@NAME@_stream *stream, const void *blob, size_t bytes) {
    const unsigned char *from = blob;
    if (bytes != @GUARD@_SNAPSHOT_BYTES)
        return @GUARD@_SNAPSHOT;
    for (size_t i = 0; i < sizeof stamp; i++)
        if (from[i] != stamp[i])
            return @GUARD@_SNAPSHOT;
    from += sizeof stamp;
    for (int i = 0; i < STATES; i++) {
        __builtin_memcpy(place(stream, &states[i]), from, 4 * (size_t)states[i].words);
        from += 4 * (size_t)states[i].words;
    }
    return @GUARD@_OK;
}
