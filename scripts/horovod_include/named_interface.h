// Included before everything else of Horovod's build. Horovod 0.28.1 gives HOROVOD_GLOO_IFACE to the first of its Gloo contexts alone
// (gloo_context.cc: a process set's own gloo_iface_ is empty); the others listen wherever the machine's own name points, which on an ordinary
// machine is its network card. Gloo asks for that name with gethostname, and gets the address of the named interface instead.
#pragma once

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace longhaul {

// As gethostname: 0, or -1 where there is no such interface or it has no IPv4 address; then Horovod does not start.
inline int address_of_named_interface(char* text, size_t length) {
  const char* wanted = std::getenv("HOROVOD_GLOO_IFACE");
  if (wanted == nullptr || *wanted == '\0') return ::gethostname(text, length);
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return -1;
  int result = -1;
  for (const ifaddrs* item = first; item != nullptr && result != 0; item = item->ifa_next) {
    if (item->ifa_addr == nullptr || item->ifa_addr->sa_family != AF_INET || std::strcmp(item->ifa_name, wanted) != 0) continue;
    const auto* address = reinterpret_cast<const sockaddr_in*>(item->ifa_addr);
    if (inet_ntop(AF_INET, &address->sin_addr, text, static_cast<socklen_t>(length)) != nullptr) result = 0;
  }
  freeifaddrs(first);
  return result;
}

}  // namespace longhaul

#define gethostname longhaul::address_of_named_interface
