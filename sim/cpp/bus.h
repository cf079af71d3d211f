// What every bench of mixq_top has in common: values of ports as bytes, random numbers, and stalls.

#ifndef BUS_H
#define BUS_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "network_config.h"
#include "verilated.h"

using Bytes = std::vector<uint8_t>;

constexpr size_t kInputKeepBytes = (INPUT_BYTES + 7) / 8;
constexpr size_t kOutputKeepBytes = (OUTPUT_BYTES + 7) / 8;

template <typename T>
void put(T& port, const uint8_t* bytes, size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, bytes, count);
    port = static_cast<T>(value);
}
template <std::size_t N>
void put(VlWide<N>& port, const uint8_t* bytes, size_t count) {
    std::memset(port.data(), 0, N * sizeof(EData));
    std::memcpy(port.data(), bytes, count);
}
template <typename T>
void get(const T& port, uint8_t* bytes, size_t count) {
    const uint64_t value = port;
    std::memcpy(bytes, &value, count);
}
template <std::size_t N>
void get(const VlWide<N>& port, uint8_t* bytes, size_t count) {
    std::memcpy(bytes, port.data(), count);
}

// Evaluates an edge of ap_clk, with which the faster clock rises, and then the fall of that one.
template <typename Top>
void evaluate(Top& top) {
#if FAST_CLOCK
    top.ap_clk2x = 1;
    top.eval();
    top.ap_clk2x = 0;
#endif
    top.eval();
}

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {  // SplitMix64
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    unsigned below(unsigned bound) { return static_cast<unsigned>((next() >> 32) * bound >> 32); }

  private:
    uint64_t state_;
};

// The modes of sim/stalls.py.
class Stalls {
  public:
    Stalls(const std::string& mode, bool sink, uint64_t seed) : mode_(mode), sink_(sink), random_(seed) {
        going_ = random_.below(2);
    }
    bool step(bool other_seen) {
        if (mode_ == "none") return true;
        if (mode_ == "slow") return ++count_ % 8 == 0;
        if (mode_ == "wait") return other_seen;
        if (until_seen_) {
            if (!other_seen) return false;
            until_seen_ = false;
            left_ = 1 + random_.below(4);
        }
        if (left_ == 0) {
            if (sink_ && going_ && random_.below(4) == 0) {
                going_ = false;
                until_seen_ = true;
                return false;
            }
            going_ = !going_;
            left_ = random_.below(100) < 15 ? 16 + random_.below(49) : 1 + random_.below(6);
            if (mode_ == (going_ ? "seldom" : "often")) left_ *= 8;
        }
        --left_;
        return going_;
    }

  private:
    std::string mode_;
    bool sink_;
    Random random_;
    bool going_ = false, until_seen_ = false;
    unsigned left_ = 0, count_ = 0;
};

#endif  // BUS_H
