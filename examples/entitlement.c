/* May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
 *
 *   entitlement CODE                            exit 0 allow, 1 deny, 2 cannot tell
 *   entitlement --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
 *
 * Build: cc -o entitlement entitlement.c -lcurl -lcrypto -ljansson
 * (libcurl, OpenSSL 1.1.1 or newer, Jansson). The settings are those of examples/README.md.
 */
#define _DEFAULT_SOURCE
#include <curl/curl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ALLOW = 0, DENY = 1, CANNOT_TELL = 2 };

#define TIMEOUT_MS 2000L
/* More than any answer, lease or key set is long. */
#define TEXT_MAX 65536

typedef struct {
    char bytes[TEXT_MAX];
    size_t length;
} text;

static const char *url, *unix_socket, *token_file, *folder;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

/* The path of a file in the folder, good until the next call. */
static const char *in_folder(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int read_file(const char *path, text *into) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    into->length = fread(into->bytes, 1, TEXT_MAX - 1, file);
    while (into->length && strchr("\r\n ", into->bytes[into->length - 1]))
        into->length--;
    into->bytes[into->length] = '\0';
    return fclose(file) == 0;
}

/* Whole or not at all: a reader never sees half a file. */
static int store(const char *name, const char *bytes) {
    char fresh[4096];
    mkdir(folder, 0755);
    snprintf(fresh, sizeof fresh, "%s/fresh-XXXXXX", folder);
    int descriptor = mkstemp(fresh);
    if (descriptor < 0)
        return 0;
    size_t length = strlen(bytes);
    int written = write(descriptor, bytes, length) == (ssize_t)length;
    if (close(descriptor) == 0 && written && rename(fresh, in_folder(name)) == 0)
        return 1;
    unlink(fresh);
    return 0;
}

static size_t receive(char *bytes, size_t size, size_t count, void *into) {
    text *body = into;
    if (size * count > TEXT_MAX - 1 - body->length)
        return 0;
    memcpy(body->bytes + body->length, bytes, size * count);
    body->length += size * count;
    body->bytes[body->length] = '\0';
    return size * count;
}

/* Whether the daemon answered with 200. */
static int get(const char *path, text *body) {
    static text token;
    char address[4096], header[512];
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    if (!curl)
        return 0;
    body->length = 0;
    body->bytes[0] = '\0';
    snprintf(address, sizeof address, "%s%s", unix_socket ? "http://localhost" : url, path);
    if (unix_socket) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, unix_socket);
    } else if (read_file(token_file, &token)) {
        snprintf(header, sizeof header, "Authorization: Bearer %.480s", token.bytes);
        headers = curl_slist_append(headers, header);
    }
    curl_easy_setopt(curl, CURLOPT_URL, address);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    long status = 0;
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK)
        fprintf(stderr, "no answer from authcoded: %s\n", curl_easy_strerror(result));
    else if (status != 200)
        fprintf(stderr, "no answer from authcoded: %ld %s\n", status, body->bytes);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return result == CURLE_OK && status == 200;
}

/* base64url without padding; -1 when it is not that, or too long. */
static int decode(const char *from, size_t length, unsigned char *into, size_t room) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned bits = 0, count = 0;
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        const char *letter = from[i] ? strchr(letters, from[i]) : NULL;
        if (!letter)
            return -1;
        bits = bits << 6 | (unsigned)(letter - letters);
        count += 6;
        if (count >= 8) {
            if (written == room)
                return -1;
            count -= 8;
            into[written++] = (unsigned char)(bits >> count);
        }
    }
    return (int)written;
}

static json_t *decode_json(const char *from, size_t length) {
    static unsigned char bytes[TEXT_MAX];
    int count = decode(from, length, bytes, sizeof bytes);
    return count < 0 ? NULL : json_loadb((char *)bytes, (size_t)count, JSON_REJECT_DUPLICATES, NULL);
}

static int is(const json_t *object, const char *name, const char *value) {
    const char *found = json_string_value(json_object_get(object, name));
    return found && strcmp(found, value) == 0;
}

/* Whether the key with this id has signed these bytes. */
static int signed_by(const json_t *keys, const char *kid, const char *bytes, size_t length,
                     const unsigned char signature[64]) {
    unsigned char x[32];
    size_t i;
    json_t *jwk;
    json_array_foreach(json_object_get(keys, "keys"), i, jwk) {
        const char *encoded = json_string_value(json_object_get(jwk, "x"));
        if (!is(jwk, "kid", kid) || !is(jwk, "crv", "Ed25519") || !encoded)
            continue;
        if (decode(encoded, strlen(encoded), x, sizeof x) != sizeof x)
            continue;
        EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        int right = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                    EVP_DigestVerify(context, signature, 64, (const unsigned char *)bytes, length) == 1;
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(key);
        return right;
    }
    return 0;
}

/* What is wrong with the claims; NULL when nothing is. */
static const char *check_claims(const json_t *claims, const char *code) {
    json_int_t now = (json_int_t)time(NULL);
    const json_t *nbf = json_object_get(claims, "nbf"), *exp = json_object_get(claims, "exp");
    if (!is(claims, "iss", "authcoded"))
        return "not from authcoded";
    if (!is(claims, "sub", code))
        return "for another code";
    if (!is(claims, "decision", "allow"))
        return "it does not allow anything";
    if (!json_is_integer(nbf) || now < json_integer_value(nbf))
        return "it does not hold yet";
    if (!json_is_integer(exp) || now >= json_integer_value(exp))
        return "it has ended";
    return NULL;
}

/* What is wrong with the lease; NULL when it holds now, for this code, under one of these keys. Then
 * `reason` is the one that it gives. */
static const char *check_lease(const char *lease, const char *jwks, const char *code, char reason[64]) {
    const char *payload = strchr(lease, '.');
    const char *signature = payload ? strchr(payload + 1, '.') : NULL;
    unsigned char signature_bytes[64];
    if (!signature)
        return "not a JWT";
    size_t signed_length = (size_t)(signature - lease);
    if (decode(signature + 1, strlen(signature + 1), signature_bytes, 64) != 64)
        return "the signature is not one of Ed25519";
    json_t *header = decode_json(lease, (size_t)(payload - lease));
    json_t *claims = decode_json(payload + 1, (size_t)(signature - payload - 1));
    json_t *keys = json_loads(jwks, 0, NULL);
    const char *kid = json_string_value(json_object_get(header, "kid"));
    const char *wrong = NULL;
    if (!is(header, "alg", "EdDSA"))
        wrong = "not signed with EdDSA";
    else if (!kid || !signed_by(keys, kid, lease, signed_length, signature_bytes))
        wrong = "not signed by a key that we know";
    else
        wrong = check_claims(claims, code);
    const char *found = json_string_value(json_object_get(claims, "reason"));
    snprintf(reason, 64, "%s", found ? found : "");
    json_decref(header);
    json_decref(claims);
    json_decref(keys);
    return wrong;
}

static const char *check_files(const char *lease_file, const char *keys_file, const char *code, char reason[64]) {
    static text lease, keys;
    if (!read_file(lease_file, &lease))
        return "no lease";
    if (!read_file(keys_file, &keys))
        return "no key set";
    return check_lease(lease.bytes, keys.bytes, code, reason);
}

/* Keeps a lease that holds. The key set is fetched when the kept one does not know its key. */
static void keep(const char *lease, const char *code) {
    static text keys;
    char reason[64];
    if (!read_file(in_folder("jwks.json"), &keys) || check_lease(lease, keys.bytes, code, reason)) {
        const char *wrong = NULL;
        if (!get("/.well-known/jwks.json", &keys) || (wrong = check_lease(lease, keys.bytes, code, reason)) ||
            !store("jwks.json", keys.bytes)) {
            fprintf(stderr, "the lease was not kept: %s\n", wrong ? wrong : "no key set");
            return;
        }
    }
    if (!store("lease.jwt", lease))
        perror("the lease was not kept");
}

static int go_by_the_lease(const char *code) {
    char reason[64], lease_file[4096];
    snprintf(lease_file, sizeof lease_file, "%s", in_folder("lease.jwt"));
    const char *wrong = check_files(lease_file, in_folder("jwks.json"), code, reason);
    if (wrong) {
        /* Your product's own choice: stop, ask the user for patience, or go on for a day, say. */
        printf("cannot tell: %s\n", wrong);
        return CANNOT_TELL;
    }
    printf("allow %s (lease)\n", reason);
    return ALLOW;
}

static int ask(const char *code) {
    static text body;
    char path[1024];
    char *escaped = curl_easy_escape(NULL, code, 0);
    snprintf(path, sizeof path, "/v1/entitlements/%s", escaped ? escaped : "");
    curl_free(escaped);
    /* Anything but a yes or a no: nobody listens, too slow, 5xx, a wrong token. */
    json_t *answer = get(path, &body) ? json_loads(body.bytes, 0, NULL) : NULL;
    const char *reason = json_string_value(json_object_get(answer, "reason"));
    const char *lease = json_string_value(json_object_get(answer, "lease"));
    int result;
    if (reason && is(answer, "decision", "allow")) {
        keep(lease ? lease : "", code);
        printf("allow %s\n", reason);
        result = ALLOW;
    } else if (reason && is(answer, "decision", "deny")) {
        unlink(in_folder("lease.jwt"));
        printf("deny %s\n", reason);
        result = DENY;
    } else {
        result = go_by_the_lease(code);
    }
    json_decref(answer);
    return result;
}

int main(int count, char **args) {
    char reason[64];
    url = setting("AUTHCODED_URL", "http://127.0.0.1:8652");
    unix_socket = setting("AUTHCODED_SOCKET", NULL);
    token_file = setting("AUTHCODED_TOKEN_FILE", "/etc/authcoded/software-token");
    folder = setting("AUTHCODED_FOLDER", "authcoded-lease");
    if (count == 5 && strcmp(args[1], "--check-lease") == 0) {
        const char *wrong = check_files(args[2], args[3], args[4], reason);
        if (wrong)
            printf("refused: %s\n", wrong);
        else
            printf("allow %s\n", reason);
        return wrong ? DENY : ALLOW;
    }
    if (count == 2)
        return ask(args[1]);
    fprintf(stderr, "%s CODE | --check-lease LEASE JWKS CODE\n", args[0]);
    return CANNOT_TELL;
}
