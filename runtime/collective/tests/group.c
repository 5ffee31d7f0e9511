/* Two ranks, this process and its child, sum what each has: group FOLDER. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mizar_collective.h"

int main(int count, char **words) {
    float values[3] = {1, 2, 3};
    if (count != 2)
        return 2;
    if (mizar_group_create("/nowhere", 0, 1, 1) || !strstr(mizar_group_error(), "/nowhere"))
        return 3;
    pid_t child = fork();
    uint32_t rank = child == 0;
    mizar_group *group = mizar_group_create(words[1], rank, 2, 30);
    if (!group || mizar_group_all_reduce(group, values, 3, MIZAR_F32, 2)) {
        fprintf(stderr, "%s\n", mizar_group_error());
        return 4;
    }
    mizar_group_free(group);
    int status = 0;
    if (child && (waitpid(child, &status, 0) < 0 || status))
        return 5;
    return values[0] == 1 && values[2] == 3 ? 0 : 6;
}
