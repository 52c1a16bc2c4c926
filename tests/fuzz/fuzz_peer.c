/* What a peer says, on its way to libraft: whatever comes, no more is held back than there is room for, and
 * it does not matter in which pieces it came. The first byte says how many bytes come at a time. */
#include "peer_check.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *feed(const uint8_t *data, size_t size, size_t step, size_t *ret_passed)
{
    struct peer_check *check = peer_check_new(2);
    const char *refused = NULL;
    size_t passed = 0;

    for (size_t came = 0; came < size && refused == NULL;) {
        size_t pass = 0;
        came = size - came < step ? size : came + step;
        refused = peer_check(check, data + passed, came - passed, &pass);
        if (refused == NULL) {
            assert(pass <= came - passed);
            passed += pass;
            assert(came - passed < PEER_CHECK_HOLD_BYTES_MAX);
        }
    }
    peer_check_free(check);
    *ret_passed = passed;
    return refused;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t passed = 0;
    size_t passed_in_pieces = 0;

    if (size == 0) {
        return 0;
    }
    const char *refused = feed(data + 1, size - 1, size, &passed);
    const char *refused_in_pieces =
        feed(data + 1, size - 1, 1 + data[0], &passed_in_pieces);
    assert(refused == refused_in_pieces);
    assert(refused != NULL || passed == passed_in_pieces);
    return 0;
}
