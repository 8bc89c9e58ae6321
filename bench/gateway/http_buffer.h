/* A growing byte buffer, and the few lines of HTTP/1.1 that the upstream and the load generator share. */
#ifndef HTTP_BUFFER_H
#define HTTP_BUFFER_H

#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef struct {
    char *bytes;
    size_t size, room;
} buffer;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void append(buffer *to, const char *bytes, size_t size) {
    if (to->size + size + 1 > to->room) {
        to->room = (to->size + size + 1) * 2;
        to->bytes = realloc(to->bytes, to->room);
        if (!to->bytes) die("realloc");
    }
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
    to->bytes[to->size] = 0;
}

static void drop(buffer *from, size_t size) {
    memmove(from->bytes, from->bytes + size, from->size - size);
    from->size -= size;
    from->bytes[from->size] = 0;
}

static inline long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* The value of a header in a head that ends in a blank line, or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line + 2 < end; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':') {
            line += 3 + length;
            while (*line == ' ') line++;
            return line;
        }
    }
    return NULL;
}

#endif
