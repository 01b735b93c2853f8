#include "wordcount.h"

#include <ctype.h>
#include <stdbool.h>

int count(FILE *in, struct counts *out)
{
    struct counts counts = {0};
    bool in_word = false;

    for (int c; (c = getc(in)) != EOF;) {
        counts.bytes++;
        counts.lines += c == '\n';
        if (isspace(c)) {
            in_word = false;
        } else if (!in_word) {
            in_word = true;
            counts.words++;
        }
    }
    *out = counts;
    return ferror(in) ? -1 : 0;
}
