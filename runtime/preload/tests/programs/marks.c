/* Marks a section and a figure through mizar.h; linked with nothing. */
#include "mizar.h"
#include <stdio.h>

int main(void) {
  mizar_begin("solve");
  mizar_note("residual", 1e-6);
  mizar_end("solve");
  if (mizar_mark) {
    /* Nonsense is taken calmly. */
    mizar_mark(NULL, MIZAR_BEGIN);
    mizar_mark("", MIZAR_BEGIN);
    mizar_mark("solve", 7);
    mizar_mark("clear\033[2J", MIZAR_BEGIN);
  }
  puts(mizar_mark ? "active" : "quiet");
  return 0;
}
