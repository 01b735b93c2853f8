#include "wordcount.h"

#include <errno.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "-";
    FILE *in = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    struct counts counts;

    if (!in || count(in, &counts) != 0) {
        fprintf(stderr, "wordcount: %s: %s\n", name, strerror(errno));
        return 1;
    }
    printf("%lu %lu %lu\n", counts.lines, counts.words, counts.bytes);
    return 0;
}
