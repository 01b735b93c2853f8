#ifndef WORDCOUNT_H
#define WORDCOUNT_H

#include <stdio.h>

struct counts {
    unsigned long lines, words, bytes;
};

/* Counts what is left of `in`; words are separated by isspace(3). Returns 0, or -1 on a read error. */
int count(FILE *in, struct counts *out);

#endif
