/* @TITLE@
 *
 * Made by edgelstm @VERSION@ for @TARGET@ (@USES@). Model @HASH@.
 *
 * A stream takes one reading at a time and carries its state. It lives in memory that the caller gives; nothing is
 * allocated, and there is no global state. One stream is used by one thread at a time; different streams need no lock.
 *
 * One reading, @X_WORDS@ words of 32 bits:
@INPUTS@
 * One prediction, @Y_WORDS@ words of 32 bits:
@OUTPUTS@
 * float32 is float; int32 and bool (0 or 1) are int32_t. Shapes are row-major.
 */
#ifndef @GUARD@_H
#define @GUARD@_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @GUARD@_MEMORY @MEMORY@u       /* bytes of one stream */
#define @GUARD@_ALIGNMENT 64u          /* of that memory */
#define @GUARD@_X_WORDS @X_WORDS@u
#define @GUARD@_Y_WORDS @Y_WORDS@u
#define @GUARD@_SNAPSHOT_BYTES @SNAPSHOT@u

/* What the functions answer. */
enum {
    @GUARD@_OK = 0,
    @GUARD@_INDEX = 1,      /* an index in the reading is out of range; the state is as before */
    @GUARD@_BUSY = 2,       /* another thread is inside this stream */
    @GUARD@_SIZE = 3,       /* a buffer is too small, or memory is not aligned */
    @GUARD@_INVALID = 4,    /* the reading holds NaN or Inf; the state is as before */
    @GUARD@_NO_OUTPUT = 6,  /* the reading was taken; the model predicts at every @STRIDE@. reading */
    @GUARD@_SNAPSHOT = 7    /* not a snapshot of this model; the state is as before */
};

typedef struct @NAME@_stream @NAME@_stream;

/* Bytes and alignment of a stream's memory, words of a reading and of a prediction, bytes of a snapshot: the constants
 * above, for those who load the library at run time. */
size_t @NAME@_memory(void);
size_t @NAME@_alignment(void);
size_t @NAME@_x_words(void);
size_t @NAME@_y_words(void);
size_t @NAME@_snapshot_bytes(void);

/* The model's hash, 64 hexadecimal digits. */
const char *@NAME@_model(void);

/* A stream at its start state, in memory of the caller: at least @GUARD@_MEMORY bytes, aligned to
 * @GUARD@_ALIGNMENT. NULL where the memory does not do. It needs no destruction, and may not be moved or copied. */
@NAME@_stream *@NAME@_create(void *memory, size_t bytes);

/* One reading in, one prediction out. */
int @NAME@_step(@NAME@_stream *stream, const void *x, void *y);

/* `count` readings, row after row, exactly as that many steps. `done` (may be NULL): how many readings were taken; with
 * INVALID or INDEX it is also the number of the row that was refused. ys has a row for each prediction. */
int @NAME@_run(@NAME@_stream *stream, const void *xs, void *ys, size_t count, size_t *done);

/* Back to the start state. */
void @NAME@_reset(@NAME@_stream *stream);

/* The state as bytes, the same format on every machine and in Python (`Stream.snapshot`, `Stream.restore`). */
int @NAME@_snapshot(const @NAME@_stream *stream, void *blob, size_t bytes);
int @NAME@_restore(@NAME@_stream *stream, const void *blob, size_t bytes);

/* Whether readings with NaN or Inf are refused (1, as at the start) or go through (0). */
void @NAME@_set_check(@NAME@_stream *stream, int check);

/* The interpreter under the model, for the Python package edgelstm: addresses and counts as int64_t, see its
 * machine/native.py. Not meant to be called from C. */
const char *edgelstm_machine_digest(void);
int64_t edgelstm_machine_interpret(int64_t context);
int64_t edgelstm_machine_execute(int64_t context, int64_t check);
int64_t edgelstm_machine_run(int64_t context, int64_t x, int64_t y, int64_t rows);
int64_t edgelstm_machine_call_step(int64_t self, int64_t args, int64_t count);
int64_t edgelstm_machine_step_rows(int64_t context, int64_t table, int64_t slots, int64_t count, int64_t x, int64_t y);
int64_t edgelstm_machine_scan_rows(int64_t used, int64_t slots, int64_t count, int64_t clock, int64_t x, int64_t words);
int64_t edgelstm_machine_share(int64_t team, int64_t function, int64_t records, int64_t stride, int64_t count);
int64_t edgelstm_machine_serve(int64_t team, int64_t worker);
int64_t edgelstm_machine_do_record(int64_t record, int64_t member);
int64_t edgelstm_machine_find_keys(int64_t table, int64_t keys, int64_t hashes, int64_t slots);
int64_t edgelstm_machine_note_keys(int64_t table, int64_t keys, int64_t hashes, int64_t slots);

#ifdef __cplusplus
}
#endif

#endif
