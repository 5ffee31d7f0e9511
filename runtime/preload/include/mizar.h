/* Marks for Mizar: sections of a program (epochs, time steps) and figures of merit, which appear
 * in the job's record and report under `--mizar=comm`.
 *
 * Nothing needs to be linked: without Mizar's library the functions are absent (weak), and the
 * inline functions below do nothing. A name has up to 64 bytes of UTF-8; one process uses up to
 * 128 different names. May be called from any thread, not from signal handlers.
 */
#ifndef MIZAR_H
#define MIZAR_H

#ifdef __cplusplus
extern "C" {
#endif

#define MIZAR_BEGIN 0
#define MIZAR_END 1

/* A section of this name begins (MIZAR_BEGIN) or ends (MIZAR_END). Sections may be nested. */
void mizar_mark(const char *name, int begin_or_end) __attribute__((weak));

/* A figure of merit: a loss, samples per second, a residual. */
void mizar_figure(const char *name, double value) __attribute__((weak));

static inline void mizar_begin(const char *name) {
  if (mizar_mark)
    mizar_mark(name, MIZAR_BEGIN);
}

static inline void mizar_end(const char *name) {
  if (mizar_mark)
    mizar_mark(name, MIZAR_END);
}

static inline void mizar_note(const char *name, double value) {
  if (mizar_figure)
    mizar_figure(name, value);
}

#ifdef __cplusplus
}
#endif

#endif
