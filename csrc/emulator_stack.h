// The stacks that the emulator's fibers run on, and the switch from one to another (System V x86-64).
#pragma once

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace fs::emu {

inline constexpr std::size_t kStackBytes = 64 * 1024, kGuardBytes = 4096;

// A stack with an unmapped page below it, so that an overflow stops instead of writing into a neighbour.
class Stack {
 public:
  Stack() : base_(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (base_ == MAP_FAILED || mprotect(base_, kGuardBytes, PROT_NONE) != 0) throw std::bad_alloc();
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() { munmap(base_, kStackBytes); }
  char* bottom() const { return static_cast<char*>(base_) + kGuardBytes; }
  std::size_t size() const { return kStackBytes - kGuardBytes; }

 private:
  void* base_;
};

// Saves the callee-saved registers on this stack and continues on the other (System V x86-64).
__attribute__((naked, noinline, no_sanitize("address", "undefined"))) inline void switch_stack(void**, void*) {
  asm volatile(
      "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

}  // namespace fs::emu
