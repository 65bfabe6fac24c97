// One block of emulated threads: its fibers, its shared memory, and the scheduler (see emulator.h).
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <source_location>
#include <tuple>
#include <utility>
#include <vector>

#include "core.h"
#include "emulator_stack.h"

inline thread_local fs::Grid threadIdx, blockIdx, blockDim, gridDim;

namespace fs::emu {

enum class Order { kForward, kReverse, kRandom };
struct Schedule {
  Order order = Order::kForward;
  std::uint64_t seed = 0;
};
inline Schedule schedule;  // for the launches to come

inline constexpr int kWarp = 32;

class Block;
enum class State { kReady, kAtBarrier, kAtWarp, kExited };

struct Fiber {
  Block* block = nullptr;
  Grid index;  // threadIdx
  int lane = 0, warp = 0;
  State state = State::kReady;
  std::source_location at{};  // where it waits
  int parity = 0;             // which of the warp's two slots the next exchange uses
  void* sp = nullptr;         // saved stack pointer
  void* fake_stack = nullptr;
};
inline thread_local Fiber* self = nullptr;

// The threads of one block and the scheduler that runs them.
class Block {
 public:
  Block(Grid block, std::size_t shared_bytes, void (*body)(void*), void* argument)
      : body_(body), argument_(argument), shared_bytes_(shared_bytes), fibers_(block.x * block.y * block.z) {
    for (std::size_t i = 0; i < fibers_.size(); ++i) {
      const unsigned t = static_cast<unsigned>(i);
      fibers_[i].block = this;
      fibers_[i].index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
      fibers_[i].lane = static_cast<int>(i) % kWarp, fibers_[i].warp = static_cast<int>(i) / kWarp;
    }
    slots_.resize(fibers_.size() / kWarp + 1);
    while (stacks().size() < fibers_.size()) stacks().push_back(std::make_unique<Stack>());
  }

  void run(Order order, std::mt19937_64& random) {
    shared_.clear();
    for (std::size_t i = 0; i < fibers_.size(); ++i) start(fibers_[i], *stacks()[i]);
    std::vector<std::size_t> turn(fibers_.size());
    std::iota(turn.begin(), turn.end(), 0);
    if (order == Order::kReverse) std::reverse(turn.begin(), turn.end());
    do {
      if (order == Order::kRandom) std::shuffle(turn.begin(), turn.end(), random);
      for (const std::size_t i : turn)
        if (fibers_[i].state == State::kReady) resume(fibers_[i], *stacks()[i]);
    } while (release());
  }

  void barrier(std::source_location at) { wait(State::kAtBarrier, at); }
  void warp_barrier(std::source_location at) { wait(State::kAtWarp, at); }

  // Every lane leaves its value and takes the one of lane pick(lane).
  template <class T, class Pick>
  T exchange(T value, Pick pick, std::source_location at) {
    static_assert(sizeof(T) <= sizeof(Slot::bytes));
    Fiber& me = *self;
    const int parity = me.parity;
    me.parity ^= 1;  // two slots: a lane that runs ahead cannot overwrite what another has yet to read
    std::memcpy(slots_[me.warp].slot[parity][me.lane].bytes, &value, sizeof(T));
    warp_barrier(at);
    const int source = pick(me.lane);
    if (source >= 0 && source < kWarp) std::memcpy(&value, slots_[me.warp].slot[parity][source].bytes, sizeof(T));
    return value;
  }

  template <class T>
  T* shared(const char* file, int line, std::size_t count) {
    auto& memory = shared_[{file, line, count * sizeof(T)}];
    if (memory == nullptr) {
      memory.reset(new char[count * sizeof(T)]);
      std::memset(memory.get(), 0xFF, count * sizeof(T));
    }
    return reinterpret_cast<T*>(memory.get());
  }

  template <class T>
  T* dynamic_shared() {
    return reinterpret_cast<T*>(shared<char>("dynamic shared memory", 0, shared_bytes_));
  }

 private:
  struct Slot {
    alignas(16) char bytes[16];
  };
  struct Slots {
    Slot slot[2][kWarp];
  };

  static std::vector<std::unique_ptr<Stack>>& stacks() {
    static thread_local std::vector<std::unique_ptr<Stack>> pool;
    return pool;
  }

  void start(Fiber& fiber, const Stack& stack) {
    __asan_unpoison_memory_region(stack.bottom(), stack.size());  // an abandoned run leaves redzones behind
    void** top = reinterpret_cast<void**>(stack.bottom() + stack.size());
    std::fill(top - 8, top, nullptr);
    top[-2] = reinterpret_cast<void*>(&Block::enter);  // `ret` lands here with the stack aligned as after a call
    fiber.sp = top - 8;
    fiber.state = State::kReady, fiber.parity = 0, fiber.fake_stack = nullptr;
  }

  static void enter() {
    Block& block = *self->block;
    __sanitizer_finish_switch_fiber(nullptr, &block.main_bottom_, &block.main_size_);
    try {
      block.body_(block.argument_);
    } catch (...) {
      block.error_ = std::current_exception();
    }
    self->state = State::kExited;
    __sanitizer_start_switch_fiber(nullptr, block.main_bottom_, block.main_size_);
    switch_stack(&self->sp, block.main_sp_);
  }

  void resume(Fiber& fiber, const Stack& stack) {
    self = &fiber;
    threadIdx = fiber.index;
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack.bottom(), stack.size());
    switch_stack(&main_sp_, fiber.sp);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
    self = nullptr;
    if (error_ != nullptr) rethrow(fiber);
  }

  void wait(State state, std::source_location at) {
    Fiber& me = *self;
    me.state = state, me.at = at;
    __sanitizer_start_switch_fiber(&me.fake_stack, main_bottom_, main_size_);
    switch_stack(&me.sp, main_sp_);
    __sanitizer_finish_switch_fiber(me.fake_stack, &main_bottom_, &main_size_);
  }

  // Lets threads go on whose warp or block has arrived; false when all have exited; throws when nobody can go on.
  bool release() {
    bool some = false;
    for (std::size_t first = 0; first < fibers_.size(); first += kWarp)
      if (first + kWarp <= fibers_.size()) some |= release(State::kAtWarp, first, first + kWarp);
    if (some || release(State::kAtBarrier, 0, fibers_.size())) return true;
    if (std::all_of(fibers_.begin(), fibers_.end(), [](const Fiber& f) { return f.state == State::kExited; }))
      return false;
    throw std::runtime_error(divergence());
  }

  bool release(State state, std::size_t first, std::size_t last) {
    const std::source_location& at = fibers_[first].at;
    for (std::size_t i = first; i < last; ++i)
      if (fibers_[i].state != state || fibers_[i].at.line() != at.line() ||
          std::strcmp(fibers_[i].at.file_name(), at.file_name()) != 0)
        return false;
    for (std::size_t i = first; i < last; ++i) fibers_[i].state = State::kReady;
    return true;
  }

  std::string divergence() const {
    std::map<std::string, int> places;
    for (const Fiber& fiber : fibers_) {
      const std::string kind = fiber.state == State::kAtWarp ? "a warp primitive" : "a barrier";
      ++places[fiber.state == State::kExited
                   ? "have exited"
                   : "wait for " + kind + " at " + fiber.at.file_name() + ":" + std::to_string(fiber.at.line())];
    }
    std::string text = "divergence in block " + name(blockIdx) + ": of " + std::to_string(fibers_.size()) + " threads";
    for (const auto& [place, count] : places)
      text += (text.back() == 's' ? " " : ", ") + std::to_string(count) + " " + place;
    return text;
  }

  void rethrow(const Fiber& fiber) {
    const std::exception_ptr error = std::exchange(error_, nullptr);
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      throw std::runtime_error("thread " + name(fiber.index) + " of block " + name(blockIdx) + ": " + e.what());
    }
  }

  static std::string name(Grid g) {
    return "(" + std::to_string(g.x) + ", " + std::to_string(g.y) + ", " + std::to_string(g.z) + ")";
  }

  void (*body_)(void*);
  void* argument_;
  std::size_t shared_bytes_;
  std::vector<Fiber> fibers_;
  std::vector<Slots> slots_;
  std::map<std::tuple<std::string, int, std::size_t>, std::unique_ptr<char[]>> shared_;
  std::exception_ptr error_;
  void* main_sp_ = nullptr;
  const void* main_bottom_ = nullptr;
  std::size_t main_size_ = 0;
};

}  // namespace fs::emu
