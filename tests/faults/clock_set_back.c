/* While the file that CLOCK_SET_BACK_WHILE names is there, the wall clock of this process is an hour behind; other clocks are as they were.
   Waits until a time of that clock end when it says so: the kernel's clock, which they go by, is still an hour ahead of it, and a thread
   that waits for the next tenth of a second would be woken at once, look at the clock, and wait again, all the time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BACK_S 3600
#define A_DATE 1000000000 /* seconds: of a wall clock, since no machine has been up for 31 years */

static time_t back(void) {
  const char *path = getenv("CLOCK_SET_BACK_WHILE");
  return path != NULL && access(path, F_OK) == 0 ? BACK_S : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec -= back();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec precise;
  if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return (time_t)-1;
  if (out != NULL) *out = precise.tv_sec;
  return precise.tv_sec;
}

static struct timespec in_kernel(const struct timespec *until) {
  struct timespec found = *until;
  if (found.tv_sec > A_DATE) found.tv_sec += back();
  return found;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (real == NULL) {
    void *found = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* x86-64 has an older one as well */
    if (found == NULL) found = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))found;
  }
  struct timespec then = in_kernel(until);
  return real(condition, mutex, &then);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  static int (*real)(sem_t *, const struct timespec *);
  if (real == NULL) real = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec then = in_kernel(until);
  return real(semaphore, &then);
}
