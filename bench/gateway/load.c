/*
 * A load generator: so many connections, each with one request after the other, until so many requests are
 * done or so much time is up. Prints one line of JSON.
 *
 *   load --port PORT --path PATH --body FILE --connections N --requests N --seconds S
 *
 * A stream's chunks are those that carry the upstream's word, not the role, receipt and end around them, which
 * servers pass on differently; chunks that arrive in one read count one by one. TTFT is that of the first.
 */
#include "http_buffer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 4096, READ_BYTES = 65536, MOST_TIMES = 2000000 };

typedef struct {
    int fd, chunked, in_body, has_words;
    long long left, started_us;
    buffer in;
} client;

static client clients[MOST_CONNECTIONS];
static int poller, port, connections = 1;
static long wanted = 1000, begun, done, errors, chunks, unfinished;
static double seconds = 10;
static buffer request;
static double *first_us, *whole_us;
static long firsts, wholes;

static void begin(client *one);

static void dial(client *one) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(one->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event);
}

static void reset(client *one) {
    one->chunked = one->in_body = one->has_words = 0;
    one->left = 0;
    if (one->in.bytes) drop(&one->in, one->in.size);
}

static void begin(client *one) {
    reset(one);
    one->started_us = 0;
    if (begun == wanted) return;
    begun++;
    one->started_us = now_us();
    if (send(one->fd, request.bytes, request.size, MSG_NOSIGNAL) != (ssize_t)request.size) die("send");
}

static void failed(client *one, const char *why) {
    if (errors++ < 3) fprintf(stderr, "%s: %.200s\n", why, one->in.bytes ? one->in.bytes : "");
    close(one->fd);
    dial(one);
    begin(one);
}

/* Count the words in a piece of a stream. */
static void scan(client *one, size_t size) {
    static const char word[] = "\" word\"";
    char *at = one->in.bytes, *end = at + size;
    while (at < end && (at = memmem(at, end - at, word, sizeof word - 1))) {
        if (!one->has_words && firsts < MOST_TIMES) first_us[firsts++] = now_us() - one->started_us;
        one->has_words = 1;
        chunks++;
        at += sizeof word - 1;
    }
}

static void finished(client *one) {
    if (wholes < MOST_TIMES) whole_us[wholes++] = now_us() - one->started_us;
    done++;
    begin(one);
}

static int head_complete(client *one) {
    char *end = strstr(one->in.bytes, "\r\n\r\n");
    if (!end) return 0;
    const char *length = header(one->in.bytes, end, "content-length");
    if (strncmp(one->in.bytes + 8, " 200", 4)) return failed(one, "not 200"), 0;
    one->chunked = !length;
    one->left = length ? atoll(length) : 0;
    one->in_body = 1;
    drop(&one->in, end + 4 - one->in.bytes);
    return 1;
}

/* Take whole pieces of a chunked body; 1 at its end. */
static int chunked_complete(client *one) {
    for (;;) {
        char *line = strstr(one->in.bytes, "\r\n");
        if (!line) return 0;
        size_t size = strtoul(one->in.bytes, NULL, 16), total = line + 2 - one->in.bytes + size + 2;
        if (one->in.size < total) return 0;
        if (!size) return 1;
        scan(one, total);
        drop(&one->in, total);
    }
}

static void receive(client *one) {
    static char bytes[READ_BYTES];
    ssize_t got = recv(one->fd, bytes, sizeof bytes, 0);
    if (got <= 0) return failed(one, "closed");
    if (!one->started_us) return;
    append(&one->in, bytes, got);
    if (!one->in_body && !head_complete(one)) return;
    if (one->chunked ? chunked_complete(one) : (long long)one->in.size >= one->left) finished(one);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(double *times, long count, double share) {
    return count ? times[(long)(share * (count - 1))] : 0;
}

static void read_body(const char *path, const char *file) {
    buffer body = {0};
    char bytes[READ_BYTES], head[512];
    FILE *input = fopen(file, "rb");
    if (!input) die(file);
    for (size_t got; (got = fread(bytes, 1, sizeof bytes, input)) > 0;) append(&body, bytes, got);
    fclose(input);
    append(&request, head, snprintf(head, sizeof head,
           "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer none\r\n"
           "content-type: application/json\r\ncontent-length: %zu\r\n\r\n", path, port, body.size));
    append(&request, body.bytes, body.size);
    free(body.bytes);
}

static void report(double took_s) {
    qsort(first_us, firsts, sizeof *first_us, by_size);
    qsort(whole_us, wholes, sizeof *whole_us, by_size);
    printf("{\"requests\":%ld,\"errors\":%ld,\"unfinished\":%ld,\"seconds\":%.6f,\"chunks\":%ld,"
           "\"ttft_ms_p50\":%.4f,\"ttft_ms_p99\":%.4f,\"latency_ms_p50\":%.4f,\"latency_ms_p99\":%.4f}\n",
           done, errors, unfinished, took_s, chunks, at(first_us, firsts, .5) / 1e3, at(first_us, firsts, .99) / 1e3,
           at(whole_us, wholes, .5) / 1e3, at(whole_us, wholes, .99) / 1e3);
}

int main(int argc, char **argv) {
    const char *path = "/v1/chat/completions", *body = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--path")) path = argv[i + 1];
        else if (!strcmp(argv[i], "--body")) body = argv[i + 1];
        else if (!strcmp(argv[i], "--connections")) connections = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--requests")) wanted = atol(argv[i + 1]);
        else if (!strcmp(argv[i], "--seconds")) seconds = atof(argv[i + 1]);
        else return fprintf(stderr, "unknown flag %s\n", argv[i]), 2;
    }
    if (!body || connections < 1 || connections > MOST_CONNECTIONS) return fprintf(stderr, "usage: see load.c\n"), 2;
    read_body(path, body);
    first_us = malloc(MOST_TIMES * sizeof *first_us), whole_us = malloc(MOST_TIMES * sizeof *whole_us);
    poller = epoll_create1(0);
    long long start = now_us(), end = start + (long long)(seconds * 1e6);
    for (int i = 0; i < connections; i++) dial(&clients[i]), begin(&clients[i]);
    while (done + errors < wanted && now_us() < end) {
        static struct epoll_event events[1024];
        int count = epoll_wait(poller, events, 1024, 100);
        for (int i = 0; i < count; i++) receive(events[i].data.ptr);
    }
    for (int i = 0; i < connections; i++) unfinished += clients[i].started_us != 0;
    report((now_us() - start) / 1e6);
    return 0;
}
