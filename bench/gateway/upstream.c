/*
 * A miner that costs next to nothing: answers at once, in the shape that a gateway demands of miners (token
 * ids, a receipt that nobody signed), whole or as a stream of "max_tokens" chunks, one every --interval-us.
 *
 *   upstream --model NAME --hotkey SS58 [--port 0] [--interval-us 0]
 *
 * Prints "listening on PORT" and serves 127.0.0.1 until it is killed.
 */
#include "http_buffer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 8192, READ_BYTES = 65536, MOST_BODY_BYTES = 8 << 20, PROMPT_TOKENS = 64 };

typedef struct {
    int open, chat, writing, close_after;
    buffer in, out;
    int chunks_left, chunks_sent, place;
    long long next_us;
} connection;

static connection connections[MOST_CONNECTIONS];
static int streaming[MOST_CONNECTIONS], streams;
static int poller;
static const char *model = "bench/model", *hotkey = "5Bench";
static long interval_us;
static char prompt_ids[PROMPT_TOKENS * 8], receipt[2048];

static void prepare(void) {
    char *at = prompt_ids;
    at += sprintf(at, "[");
    for (int i = 0; i < PROMPT_TOKENS; i++) at += sprintf(at, "%s%d", i ? "," : "", 1000 + i * 17);
    sprintf(at, "]");
    char hash[65], signature[129];
    memset(hash, 'a', 64), hash[64] = 0;
    memset(signature, 'b', 128), signature[128] = 0;
    snprintf(receipt, sizeof receipt,
             "{\"version\":\"receipt/1\",\"request_id\":\"benchbench\",\"hotkey\":\"%s\",\"model\":\"%s\","
             "\"request_digest\":\"%s\",\"sampler\":\"bench\",\"seed\":1,\"calibration_digest\":\"%s\","
             "\"num_layers\":28,\"choices\":[{\"index\":0,\"prompt_digest\":\"%s\",\"prompt_tokens\":64,"
             "\"output_digest\":\"%s\",\"output_tokens\":16,\"cached_tokens\":0}],\"merkle_root\":\"%s\","
             "\"leaves\":174,\"received_at_ms\":1,\"first_token_at_ms\":2,\"finished_at_ms\":3,"
             "\"signature\":\"0x%s\"}",
             hotkey, model, hash, hash, hash, hash, hash, signature);
}

static void watch(int fd, unsigned events, int how) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, how, fd, &event)) die("epoll_ctl");
}

static void end_stream(connection *one) {
    int last = streaming[--streams];
    streaming[one->place] = last;
    connections[last].place = one->place;
    one->chunks_left = 0;
}

static void hang_up(int fd) {
    connection *one = &connections[fd];
    if (one->chunks_left) end_stream(one);
    free(one->in.bytes), free(one->out.bytes);
    memset(one, 0, sizeof *one);
    close(fd);
}

static void flush(int fd) {
    connection *one = &connections[fd];
    while (one->out.size) {
        ssize_t sent = send(fd, one->out.bytes, one->out.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) return hang_up(fd);
        drop(&one->out, sent);
    }
    int writing = one->out.size > 0;
    if (writing != one->writing) watch(fd, EPOLLIN | (writing ? EPOLLOUT : 0), EPOLL_CTL_MOD);
    one->writing = writing;
    if (!writing && one->close_after && !one->chunks_left) hang_up(fd);
}

static void answer(connection *one, const char *body) {
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                          strlen(body));
    append(&one->out, head, length);
    append(&one->out, body, strlen(body));
}

static void event(connection *one, const char *data) {
    char size[32];
    size_t length = strlen(data) + 8;
    append(&one->out, size, sprintf(size, "%zx\r\n", length));
    append(&one->out, "data: ", 6);
    append(&one->out, data, length - 8);
    append(&one->out, "\n\n\r\n", 4);
}

static void token_chunk(connection *one) {
    char data[4096], frame[512];
    int last = --one->chunks_left == 0;
    const char *finish = last ? "\"stop\"" : "null";
    int id = 2000 + one->chunks_sent++ % 1000;
    snprintf(frame, sizeof frame, "{\"id\":\"%s-bench\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"%s\"",
             one->chat ? "chatcmpl" : "cmpl", one->chat ? "chat.completion.chunk" : "text_completion", model);
    if (one->chat)
        snprintf(data, sizeof data,
                 "%s,\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,"
                 "\"finish_reason\":%s,\"token_ids\":[%d]}]}", frame, finish, id);
    else
        snprintf(data, sizeof data,
                 "%s,\"choices\":[{\"index\":0,\"text\":\" word\",\"logprobs\":null,\"finish_reason\":%s,"
                 "\"prompt_token_ids\":%s,\"token_ids\":[%d]}]}", frame, finish,
                 one->chunks_sent == 1 ? prompt_ids : "null", id);
    event(one, data);
    if (!last) return;
    snprintf(data, sizeof data, "%s,\"choices\":[],\"receipt\":%s}", frame, receipt);
    event(one, data);
    event(one, "[DONE]");
    append(&one->out, "0\r\n\r\n", 5);
}

static void start_stream(int fd, int chunks) {
    connection *one = &connections[fd];
    const char *head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                       "transfer-encoding: chunked\r\n\r\n";
    append(&one->out, head, strlen(head));
    if (one->chat) {
        char data[4096];
        snprintf(data, sizeof data,
                 "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                 "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                 "\"logprobs\":null,\"finish_reason\":null}],\"prompt_token_ids\":%s}", model, prompt_ids);
        event(one, data);
    }
    one->chunks_left = chunks, one->chunks_sent = 0;
    one->place = streams, streaming[streams++] = fd;
    token_chunk(one);
    one->next_us = now_us() + interval_us;
    if (!one->chunks_left) one->chunks_left = 1, end_stream(one);
}

static void whole(connection *one, int tokens) {
    static char body[1 << 20];
    char *at = body;
    at += sprintf(at, "{\"id\":\"%s-bench\",\"object\":\"%s\",\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,",
                  one->chat ? "chatcmpl" : "cmpl", one->chat ? "chat.completion" : "text_completion", model);
    at += sprintf(at, one->chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"" : "\"prompt_token_ids\":%s,\"text\":\"",
                  prompt_ids);
    for (int i = 0; i < tokens; i++) at += sprintf(at, " word");
    at += sprintf(at, one->chat ? "\"}," : "\",");
    at += sprintf(at, "\"logprobs\":null,\"finish_reason\":\"stop\",\"token_ids\":[");
    for (int i = 0; i < tokens; i++) at += sprintf(at, "%s%d", i ? "," : "", 2000 + i % 1000);
    at += sprintf(at, "]}],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d},",
                  PROMPT_TOKENS, tokens, PROMPT_TOKENS + tokens);
    if (one->chat) at += sprintf(at, "\"prompt_token_ids\":%s,", prompt_ids);
    sprintf(at, "\"receipt\":%s}", receipt);
    answer(one, body);
}

/* The JSON value that follows a field's name, or NULL; good enough for bodies that this bench sends. */
static const char *field(const char *body, const char *name) {
    const char *found = strstr(body, name);
    if (!found) return NULL;
    found += strlen(name);
    while (*found == ' ' || *found == ':') found++;
    return found;
}

static void infer(int fd, const char *body, int chat) {
    connection *one = &connections[fd];
    const char *stream = field(body, "\"stream\""), *limit = field(body, "\"max_tokens\"");
    int tokens = limit ? atoi(limit) : 16;
    if (tokens < 1) tokens = 1;
    if (tokens > 4096) tokens = 4096;
    one->chat = chat;
    if (stream && !strncmp(stream, "true", 4)) start_stream(fd, tokens);
    else whole(one, tokens);
}

static void handle(int fd, const char *head, const char *body) {
    connection *one = &connections[fd];
    char text[512];
    if (!strncmp(head, "POST /v1/chat/completions", 25)) return infer(fd, body, 1);
    if (!strncmp(head, "POST /v1/completions", 20)) return infer(fd, body, 0);
    if (!strncmp(head, "GET /v1/models", 14))
        snprintf(text, sizeof text, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1,"
                 "\"owned_by\":\"bench\"}]}", model);
    else
        snprintf(text, sizeof text, "{\"status\":\"ok\",\"model\":\"%s\",\"hotkey\":\"%s\"}", model, hotkey);
    answer(one, text);
}

/* Serve the next request if it is complete; 0 when bytes are missing. */
static int next_request(int fd) {
    connection *one = &connections[fd];
    if (!one->in.size || one->chunks_left) return 0;
    char *end = strstr(one->in.bytes, "\r\n\r\n");
    if (!end) return 0;
    const char *length = header(one->in.bytes, end, "content-length");
    const char *keep = header(one->in.bytes, end, "connection");
    size_t body_bytes = length ? strtoul(length, NULL, 10) : 0, total = end + 4 - one->in.bytes + body_bytes;
    if (body_bytes > MOST_BODY_BYTES || header(one->in.bytes, end, "transfer-encoding")) return hang_up(fd), 0;
    if (one->in.size < total) return 0;
    one->close_after = keep && !strncasecmp(keep, "close", 5);
    char after = one->in.bytes[total];
    one->in.bytes[total] = 0;
    handle(fd, one->in.bytes, end + 4);
    one->in.bytes[total] = after;
    drop(&one->in, total);
    return 1;
}

static void receive(int fd) {
    static char bytes[READ_BYTES];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return hang_up(fd);
    append(&connections[fd].in, bytes, got);
    while (next_request(fd)) continue;
    if (connections[fd].open) flush(fd);
}

static void accept_all(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        memset(&connections[fd], 0, sizeof connections[fd]);
        connections[fd].open = 1;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

/* Send every chunk that is due; returns how long to sleep, in microseconds, or -1. */
static long long pace(void) {
    long long now = now_us(), soonest = -1;
    for (int i = streams - 1; i >= 0; i--) {
        int fd = streaming[i];
        connection *one = &connections[fd];
        if (one->next_us <= now) {
            one->next_us += interval_us;
            token_chunk(one);
            if (!one->chunks_left) {
                one->chunks_left = 1;
                end_stream(one);
                while (next_request(fd)) continue;
            }
            if (one->open) flush(fd);
        }
        long long left = one->next_us > now ? one->next_us - now : 0;
        if (one->chunks_left && (soonest < 0 || left < soonest)) soonest = left;
    }
    return soonest;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--model")) model = argv[i + 1];
        else if (!strcmp(argv[i], "--hotkey")) hotkey = argv[i + 1];
        else if (!strcmp(argv[i], "--interval-us")) interval_us = atol(argv[i + 1]);
        else return fprintf(stderr, "unknown flag %s\n", argv[i]), 2;
    }
    if (strlen(model) > 128 || strlen(hotkey) > 64) return fprintf(stderr, "a name is too long\n"), 2;
    prepare();
    poller = epoll_create1(0);
    int listener = listen_on(port);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        static struct epoll_event events[1024];
        long long wait_us = pace();
        struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
        int count = epoll_pwait2(poller, events, 1024, wait_us < 0 ? NULL : &wait, NULL);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) accept_all(listener);
            else if (connections[fd].open && events[i].events & EPOLLOUT) flush(fd);
            if (fd != listener && connections[fd].open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(fd);
        }
    }
}
