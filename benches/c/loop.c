/* The limit that mizar cube is held against: the same work as a plain loop.
 *
 * Built and run by bench_arrays. One thread reads each piece of a file with pread, inflates it
 * with libdeflate, puts its bytes together again and adds it up, in one pass and with nothing
 * that a general program needs: the places of the pieces come from a text file beside the data
 * (arrays.py), the missing value and the calendar are known, the result is a raw file. Prints
 * the processor seconds of each stage as JSON.
 *
 *   loop CASE FILE OUT DAYS LATITUDES LONGITUDES
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libdeflate.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define YEAR 365
#define FILL 1e20f
#define RADIANS(degrees) ((degrees) * 3.14159265358979323846 / 180)

enum stage { READ, INFLATE, UNSHUFFLE, REDUCE, WRITE, STAGES };
static const char *const stage_names[STAGES] = {"read", "inflate", "unshuffle", "reduce", "write"};
static double spent_s[STAGES];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Ends a stage that began at *since, and begins the next. */
static void done(enum stage stage, double *since)
{
    double now = now_s();
    spent_s[stage] += now - *since;
    *since = now;
}

/* A chunk: its first cell, and where it lies. */
struct piece {
    int day, lat, lon;
    long address, bytes;
};

/* What is kept of each cell of each group. */
struct kept {
    double *sum, *mean, *square;
    float *least, *most;
    uint32_t *count;
};

static struct kept kept;
static int with_sum, with_least, with_most, with_moments;

static void *array(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("calloc");
    return memory;
}

static void keep(size_t cells)
{
    kept.count = array(cells, sizeof *kept.count);
    if (with_sum)
        kept.sum = array(cells, sizeof *kept.sum);
    if (with_moments) {
        kept.mean = array(cells, sizeof *kept.mean);
        kept.square = array(cells, sizeof *kept.square);
    }
    if (with_least) {
        kept.least = array(cells, sizeof *kept.least);
        for (size_t i = 0; i < cells; i++)
            kept.least[i] = INFINITY;
    }
    if (with_most) {
        kept.most = array(cells, sizeof *kept.most);
        for (size_t i = 0; i < cells; i++)
            kept.most[i] = -INFINITY;
    }
}

static void add_sums(double *restrict sum, uint32_t *restrict count, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++) {
        int valid = x[i] != FILL;
        sum[i] += valid ? x[i] : 0;
        count[i] += valid;
    }
}

static void add_least(float *restrict least, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++) {
        float value = x[i] != FILL ? x[i] : INFINITY;
        least[i] = value < least[i] ? value : least[i];
    }
}

static void add_most(float *restrict most, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++) {
        float value = x[i] != FILL ? x[i] : -INFINITY;
        most[i] = value > most[i] ? value : most[i];
    }
}

static void add_moments(double *restrict mean, double *restrict square, uint32_t *restrict count,
                        const float *restrict x, int n, int counted)
{
    for (int i = 0; i < n; i++) {
        int valid = x[i] != FILL;
        count[i] += counted ? 0 : valid;
        double delta = valid ? x[i] - mean[i] : 0;
        mean[i] += delta / (count[i] ? count[i] : 1);
        square[i] += valid ? delta * (x[i] - mean[i]) : 0;
    }
}

/* Adds a row of cells that lie one after the other in the result. */
static void add(size_t to, const float *x, int n)
{
    if (with_sum)
        add_sums(kept.sum + to, kept.count + to, x, n);
    if (with_least)
        add_least(kept.least + to, x, n);
    if (with_most)
        add_most(kept.most + to, x, n);
    if (with_moments)
        add_moments(kept.mean + to, kept.square + to, kept.count + to, x, n, with_sum);
}

/* The mean of a whole field, weighted by latitude. */
static double field_mean(const float *x, const double *weights, int lats, int lons)
{
    double sum = 0, total = 0;
    for (int lat = 0; lat < lats; lat++) {
        double lane[8] = {0};
        int count[8] = {0};
        int lon = 0;
        for (; lon + 8 <= lons; lon += 8)
            for (int k = 0; k < 8; k++) {
                float value = x[(size_t)lat * lons + lon + k];
                int valid = value != FILL;
                lane[k] += valid ? value : 0;
                count[k] += valid;
            }
        for (; lon < lons; lon++) {
            float value = x[(size_t)lat * lons + lon];
            lane[0] += value != FILL ? value : 0;
            count[0] += value != FILL;
        }
        double row = 0;
        int valid = 0;
        for (int k = 0; k < 8; k++) {
            row += lane[k];
            valid += count[k];
        }
        sum += weights[lat] * row;
        total += weights[lat] * valid;
    }
    return sum / total;
}

static void unshuffle(const uint8_t *restrict from, uint8_t *restrict to, size_t count)
{
    const uint8_t *a = from, *b = a + count, *c = b + count, *d = c + count;
    for (size_t i = 0; i < count; i++) {
        to[4 * i] = a[i];
        to[4 * i + 1] = b[i];
        to[4 * i + 2] = c[i];
        to[4 * i + 3] = d[i];
    }
}

static int group_of(const char *name, int day)
{
    static const int ends[12] = {31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    if (!strcmp(name, "ydaymean"))
        return day % YEAR;
    if (strcmp(name, "monmean"))
        return 0;
    int month = 0;
    while (day % YEAR >= ends[month])
        month++;
    return day / YEAR * 12 + month;
}

static struct piece *read_index(const char *path, int *count)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.index", path);
    FILE *file = fopen(name, "r");
    if (!file)
        fail(name);
    int room = 1024;
    struct piece piece, *pieces = array(room, sizeof *pieces);
    *count = 0;
    while (fscanf(file, "%d %d %d %ld %ld", &piece.day, &piece.lat, &piece.lon, &piece.address,
                  &piece.bytes) == 5) {
        if (*count == room)
            pieces = realloc(pieces, (room *= 2) * sizeof *pieces);
        if (!pieces)
            fail("realloc");
        pieces[(*count)++] = piece;
    }
    fclose(file);
    return pieces;
}

static void write_all(FILE *out, const void *values, size_t size, size_t count)
{
    if (values && fwrite(values, size, count, out) != count)
        fail("fwrite");
}

/* Turns what is kept into results, in the order mean, least, most, deviation, sum. */
static void finish(FILE *out, size_t cells, int five)
{
    double *mean = array(cells, sizeof *mean);
    if (with_sum) {
        for (size_t i = 0; i < cells; i++)
            mean[i] = kept.sum[i] / kept.count[i];
        write_all(out, mean, sizeof *mean, cells);
    }
    write_all(out, kept.least, sizeof *kept.least, cells);
    write_all(out, kept.most, sizeof *kept.most, cells);
    if (with_moments) {
        for (size_t i = 0; i < cells; i++)
            mean[i] = sqrt(kept.square[i] / kept.count[i]);
        write_all(out, mean, sizeof *mean, cells);
    }
    if (five)
        write_all(out, kept.sum, sizeof *kept.sum, cells);
    free(mean);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: loop CASE FILE OUT DAYS LATITUDES LONGITUDES\n");
        return 2;
    }
    const char *name = argv[1];
    int days = atoi(argv[4]), lats = atoi(argv[5]), lons = atoi(argv[6]);
    int five = !strcmp(name, "five"), field = !strcmp(name, "fldmean");
    with_most = five || !strcmp(name, "timmax");
    with_least = with_moments = five;
    with_sum = five || !(with_most || field);
    size_t plane = (size_t)lats * lons;
    size_t groups = field ? 0 : group_of(name, days - 1) + 1;
    if (!strcmp(name, "ydaymean"))
        groups = YEAR;
    int count;
    struct piece *pieces = read_index(argv[2], &count);
    int file = open(argv[2], O_RDONLY);
    FILE *out = fopen(argv[3], "w");
    if (file < 0 || !out)
        fail("open");
    /* A piece is a day, or as many cells as make the index cover all. */
    size_t cells = (size_t)days * plane / count;
    int height = lats, width = lons, depth = 1;
    if (cells > plane) {
        height = lats / 4, width = lons / 4;
        depth = cells / ((size_t)height * width);
    }
    int packed = pieces[0].bytes != (long)(cells * 4) || pieces[count - 1].bytes != pieces[0].bytes;
    long most_bytes = 0;
    for (int i = 0; i < count; i++)
        most_bytes = pieces[i].bytes > most_bytes ? pieces[i].bytes : most_bytes;
    uint8_t *raw = array(most_bytes, 1), *planes = array(cells, 4), *plain = array(cells, 4);
    double *weights = array(lats, sizeof *weights);
    for (int lat = 0; lat < lats; lat++)
        weights[lat] = cos(RADIANS((lat + 0.5) * 180 / lats - 90));
    keep(groups * plane);
    struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
    double since = now_s();
    for (int i = 0; i < count; i++) {
        struct piece piece = pieces[i];
        const float *x = (const float *)(packed ? plain : raw);
        if (pread(file, raw, piece.bytes, piece.address) != piece.bytes)
            fail("pread");
        done(READ, &since);
        if (packed) {
            if (libdeflate_zlib_decompress(decompressor, raw, piece.bytes, planes, cells * 4, NULL))
                fail("inflate");
            done(INFLATE, &since);
            unshuffle(planes, plain, cells);
            done(UNSHUFFLE, &since);
        }
        if (field) {
            double mean = field_mean(x, weights, lats, lons);
            write_all(out, &mean, sizeof mean, 1);
        } else if (width == lons) {
            add(group_of(name, piece.day) * plane, x, plane);
        } else {
            for (int day = 0; day < depth; day++)
                for (int lat = 0; lat < height; lat++)
                    add(group_of(name, piece.day + day) * plane + (size_t)(piece.lat + lat) * lons +
                            piece.lon,
                        x + ((size_t)day * height + lat) * width, width);
        }
        done(REDUCE, &since);
    }
    if (!field)
        finish(out, groups * plane, five);
    if (fclose(out))
        fail("fclose");
    done(WRITE, &since);
    printf("{");
    for (int stage = 0; stage < STAGES; stage++)
        printf("%s\"%s\": %.4f", stage ? ", " : "", stage_names[stage], spent_s[stage]);
    printf("}\n");
    return 0;
}
