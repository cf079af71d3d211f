// Plays binary stimulus into module `top` and records its outputs, without anything but C++ in the loop.
//
// binary_config.h defines PARTS(X), X(name, input bytes, output bytes) of each component; its ports are <name>_i and
// <name>_o. File <name>.in holds a row of input bytes for each cycle, lowest bits first; <name>.out gets as many rows of
// outputs, sampled just before the clock edge that ends the cycle. A cycle of reset comes before all rows.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "binary_config.h"
#include "verilated.h"

namespace {

struct Rows {
    std::string name;
    size_t in_bytes, out_bytes;
    std::vector<uint8_t> in, out;

    Rows(const char* part, size_t in_bytes, size_t out_bytes)
        : name(part), in_bytes(in_bytes), out_bytes(out_bytes) {
        std::ifstream file(name + ".in", std::ios::binary);
        in.assign(std::istreambuf_iterator<char>(file), {});
        out.resize(cycles() * out_bytes);
    }
    size_t cycles() const { return in.size() / in_bytes; }
    bool write() const {
        std::ofstream file(name + ".out", std::ios::binary);
        file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(out.size()));
        return static_cast<bool>(file.flush());
    }
};

template <typename T>
void put(T& port, const Rows& rows, size_t cycle) {
    uint64_t value = 0;
    if (cycle < rows.cycles()) std::memcpy(&value, &rows.in[cycle * rows.in_bytes], rows.in_bytes);
    port = static_cast<T>(value);
}
template <std::size_t N>
void put(VlWide<N>& port, const Rows& rows, size_t cycle) {
    std::memset(port.data(), 0, N * sizeof(EData));
    if (cycle < rows.cycles()) std::memcpy(port.data(), &rows.in[cycle * rows.in_bytes], rows.in_bytes);
}
template <typename T>
void get(const T& port, Rows& rows, size_t cycle) {
    const uint64_t value = port;
    if (cycle < rows.cycles()) std::memcpy(&rows.out[cycle * rows.out_bytes], &value, rows.out_bytes);
}
template <std::size_t N>
void get(const VlWide<N>& port, Rows& rows, size_t cycle) {
    if (cycle < rows.cycles()) std::memcpy(&rows.out[cycle * rows.out_bytes], port.data(), rows.out_bytes);
}

}  // namespace

int main() {
    VerilatedContext context;
    Vtop top{&context};
#define READ(name, in_bytes, out_bytes) Rows name(#name, in_bytes, out_bytes);
    PARTS(READ)
    size_t cycles = 0;
#define COUNT(name, in_bytes, out_bytes) cycles = name.cycles() > cycles ? name.cycles() : cycles;
    PARTS(COUNT)
    const auto edge = [&] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
    };
    top.clk = 0;
    top.rst = 1;
    top.eval();
    edge();
    top.rst = 0;
    for (size_t cycle = 0; cycle < cycles && !context.gotFinish(); ++cycle) {
#define PUT(name, in_bytes, out_bytes) put(top.name##_i, name, cycle);
        PARTS(PUT)
        top.eval();
#define GET(name, in_bytes, out_bytes) get(top.name##_o, name, cycle);
        PARTS(GET)
        edge();
    }
    top.final();
    bool written = !context.gotFinish();
#define WRITE(name, in_bytes, out_bytes) written = name.write() && written;
    PARTS(WRITE)
    return written ? 0 : 1;
}
