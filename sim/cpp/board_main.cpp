// Stands for a board around module mixq_top: a DMA engine with one packet a direction, and a master on AXI4-Lite.
//
// Usage: mixq_top DRIVER SINK SEED: modes of sim/stalls.py for the two streams. Requests come on standard input, a line
// each; every one is answered by a line on standard output, and the next one is read then. Time passes only in these:
//
//   read ADDRESS          -> value NUMBER
//   write ADDRESS NUMBER  -> done
//   send BYTES            (and as many bytes) begins to send a packet, with tlast on its last beat -> done
//   receive BYTES         begins to receive a packet of at most so many bytes -> done
//   run CYCLES            so many cycles, or until a packet is through ->
//                         state SENDING RECEIVING COUNT CYCLE (and COUNT bytes): SENDING 1 while a packet is sent;
//                         RECEIVING 0 idle, 1 waiting, 2 a packet is there, 3 it had more bytes than fit; COUNT bytes
//                         are given once, with 2 and 3; CYCLE since the start
//   abort                 drops what is sent and received, in the middle of a beat too -> done
//
// The answer to anything is "error TEXT" once a rule of AXI was broken. network_config.h: see network_main.cpp.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vmixq_top.h"
#include "bus.h"
#include "network_config.h"
#include "verilated.h"

namespace {

constexpr unsigned kMostRegisterCycles = 10000;
constexpr unsigned kMostDelay = 4;

enum Receiving { kIdle = 0, kWaiting = 1, kThere = 2, kTooLong = 3 };

struct Beat {
    uint8_t data[OUTPUT_BYTES] = {}, keep[kOutputKeepBytes] = {};
    bool last = false;
    bool operator==(const Beat& other) const {
        return std::memcmp(data, other.data, sizeof data) == 0 &&
               std::memcmp(keep, other.keep, sizeof keep) == 0 && last == other.last;
    }
};

class Board {
  public:
    Board(const std::string& driver, const std::string& sink, uint64_t seed)
        : random_(seed), driver_(driver, false, seed + 1), sink_(sink, true, seed + 2) {
        context_.randReset(2);  // state that nothing initialises starts at random
        context_.randSeed(static_cast<int>(1 + seed % 0x7fffffff));
        top_ = std::make_unique<Vmixq_top>(&context_, "mixq_top");
#define CLEAR(name) std::memset(&top_->name, 0, sizeof top_->name);
        OTHER_INPUTS(CLEAR)
#undef CLEAR
        top_->ap_rst_n = 0;
        for (unsigned count = 0; count < 4; ++count) cycle();
        top_->ap_rst_n = 1;
        for (unsigned count = 0; count < 4; ++count) cycle();
    }

    const std::string& error() const { return error_; }
    uint64_t cycles() const { return cycle_; }
    bool sending() const { return sending_; }
    Receiving receiving() const { return receiving_; }

    // What came, once.
    Bytes take() {
        if (receiving_ != kThere && receiving_ != kTooLong) return {};
        receiving_ = kIdle;
        return std::move(received_);
    }

    void send(Bytes data) {
        packet_ = std::move(data);
        sent_ = 0;
        sending_ = true;
    }

    void receive(size_t room) {
        received_.clear();
        room_ = room;
        receiving_ = kWaiting;
    }

    void abort() {
        sending_ = offered_ = false;
        receiving_ = kIdle;
    }

    void run(uint64_t cycles) {
        const bool sending = sending_;
        const Receiving receiving = receiving_;
        for (; cycles > 0 && error_.empty() && sending == sending_ && receiving == receiving_; --cycles) cycle();
    }

    uint32_t read(uint32_t address) {
        unsigned ask = random_.below(kMostDelay), take = random_.below(kMostDelay), left = kMostRegisterCycles;
        for (bool asked = false; left > 0 && error_.empty(); --left) {
            top_->s_axilite_araddr = address;
            top_->s_axilite_arvalid = !asked && ask == 0;
            top_->s_axilite_rready = take == 0;
            const bool taken = cycle([&] { return top_->s_axilite_arvalid && top_->s_axilite_arready; });
            if (read_valid_ && top_->s_axilite_rready) {
                top_->s_axilite_arvalid = top_->s_axilite_rready = 0;
                if (!asked) fail("data of a register came before its address was taken");
                if (read_response_ != 0) fail("the answer to a read is not OKAY");
                return read_data_;
            }
            asked = asked || taken;
            if (ask > 0) --ask;
            if (read_valid_ && take > 0) --take;
        }
        fail("a register was not read");
        return 0;
    }

    void write(uint32_t address, uint32_t value) {
        unsigned ask = random_.below(kMostDelay), give = random_.below(kMostDelay), take = random_.below(kMostDelay);
        bool asked = false, given = false;
        for (unsigned left = kMostRegisterCycles; left > 0 && error_.empty(); --left) {
            top_->s_axilite_awaddr = address;
            top_->s_axilite_awvalid = !asked && ask == 0;
            top_->s_axilite_wdata = value;
            top_->s_axilite_wstrb = 15;
            top_->s_axilite_wvalid = !given && give == 0;
            top_->s_axilite_bready = take == 0;
            bool address_taken = false;
            const bool data_taken = cycle([&] {
                address_taken = top_->s_axilite_awvalid && top_->s_axilite_awready;
                return top_->s_axilite_wvalid && top_->s_axilite_wready;
            });
            if (write_valid_ && top_->s_axilite_bready) {
                top_->s_axilite_awvalid = top_->s_axilite_wvalid = top_->s_axilite_bready = 0;
                if (!asked || !given) fail("the answer to a write came before its address and data were taken");
                if (write_response_ != 0) fail("the answer to a write is not OKAY");
                return;
            }
            asked = asked || address_taken;
            given = given || data_taken;
            if (ask > 0) --ask;
            if (give > 0) --give;
            if (write_valid_ && take > 0) --take;
        }
        fail("a register was not written");
    }

  private:
    void cycle() {
        cycle([] { return false; });
    }

    // Inputs change while the clock is low, all is sampled when it has settled. Returns what `look` saw then.
    template <typename Look>
    bool cycle(Look look) {
        top_->ap_clk = 0;
        const bool resetting = !top_->ap_rst_n;
        const bool going = driver_.step(false);
        if (!offered_) {
            if (sending_ && going) {
                offer();
            } else {
                idle();
            }
        }
        const bool willing = sink_.step(valid_before_);
        top_->m_axis_0_tready = willing && receiving_ == kWaiting;
        evaluate(*top_);
        const bool seen = look();
        read_valid_ = top_->s_axilite_rvalid;
        read_data_ = top_->s_axilite_rdata;
        read_response_ = top_->s_axilite_rresp;
        write_valid_ = top_->s_axilite_bvalid;
        write_response_ = top_->s_axilite_bresp;
        if (!resetting) sample();
        const bool gave = offered_ && top_->s_axis_0_tready;
        if (gave) accept();
        top_->ap_clk = 1;
        evaluate(*top_);
        ++cycle_;
        return seen;
    }

    void idle() {
        uint8_t noise[INPUT_BYTES], keep[kInputKeepBytes] = {};
        for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random_.next());
        put(top_->s_axis_0_tdata, noise, INPUT_BYTES);
        put(top_->s_axis_0_tkeep, keep, kInputKeepBytes);
        top_->s_axis_0_tlast = random_.below(2);
        top_->s_axis_0_tvalid = 0;
    }

    void offer() {
        const size_t left = packet_.size() - sent_, count = std::min<size_t>(left, INPUT_BYTES);
        uint8_t bytes[INPUT_BYTES] = {}, keep[kInputKeepBytes] = {};
        for (size_t i = 0; i < count; ++i) {
            bytes[i] = packet_[sent_ + i];
            keep[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        }
        put(top_->s_axis_0_tdata, bytes, INPUT_BYTES);
        put(top_->s_axis_0_tkeep, keep, kInputKeepBytes);
        top_->s_axis_0_tlast = left <= INPUT_BYTES;
        top_->s_axis_0_tvalid = 1;
        offered_ = true;
        offered_bytes_ = count;
    }

    void accept() {
        sent_ += offered_bytes_;
        offered_ = false;
        if (sent_ == packet_.size()) sending_ = false;
    }

    void sample() {
        valid_before_ = top_->m_axis_0_tvalid;
        if (!valid_before_) {
            if (standing_) fail("m_axis_0_tvalid fell before m_axis_0_tready took the beat");
            standing_ = false;
            return;
        }
        Beat now;
        get(top_->m_axis_0_tdata, now.data, OUTPUT_BYTES);
        get(top_->m_axis_0_tkeep, now.keep, kOutputKeepBytes);
        now.last = top_->m_axis_0_tlast;
        if (standing_ && !(now == before_)) fail("the beat changed while it waited for m_axis_0_tready");
        before_ = now;
        standing_ = !top_->m_axis_0_tready;
        if (!standing_) keep(now);
    }

    // A DMA engine takes bytes without a gap, and fewer than a beat has at the end of a packet alone.
    void keep(const Beat& now) {
        size_t count = 0;
        while (count < OUTPUT_BYTES && (now.keep[count / 8] >> (count % 8) & 1)) ++count;
        for (size_t i = count; i < OUTPUT_BYTES; ++i) {
            if (now.keep[i / 8] >> (i % 8) & 1) fail("m_axis_0_tkeep has a gap");
        }
        if (count == 0 || (count < OUTPUT_BYTES && !now.last)) fail("m_axis_0_tkeep is not whole within a packet");
        if (received_.size() + count > room_) {
            receiving_ = kTooLong;
            return;
        }
        received_.insert(received_.end(), now.data, now.data + count);
        if (now.last) receiving_ = kThere;
    }

    void fail(const std::string& message) {
        if (error_.empty()) error_ = "cycle " + std::to_string(cycle_) + ": " + message;
    }

    Random random_;
    Stalls driver_, sink_;
    VerilatedContext context_;
    std::unique_ptr<Vmixq_top> top_;
    Bytes packet_, received_;
    size_t sent_ = 0, offered_bytes_ = 0, room_ = 0;
    bool sending_ = false, offered_ = false, standing_ = false, valid_before_ = false;
    Receiving receiving_ = kIdle;
    Beat before_;
    bool read_valid_ = false, write_valid_ = false;
    uint32_t read_data_ = 0, read_response_ = 0, write_response_ = 0;
    uint64_t cycle_ = 0;
    std::string error_;
};

int serve(Board& board) {
    char line[256];
    while (std::fgets(line, sizeof line, stdin) != nullptr) {
        char word[16] = "";
        unsigned long long one = 0, other = 0;
        std::sscanf(line, "%15s %llu %llu", word, &one, &other);
        const std::string request = word;
        std::string answer = "done";
        Bytes more;
        if (request == "read") {
            answer = "value " + std::to_string(board.read(static_cast<uint32_t>(one)));
        } else if (request == "write") {
            board.write(static_cast<uint32_t>(one), static_cast<uint32_t>(other));
        } else if (request == "send") {
            Bytes data(one);
            if (std::fread(data.data(), 1, one, stdin) != one) return 1;
            board.send(std::move(data));
        } else if (request == "receive") {
            board.receive(one);
        } else if (request == "run") {
            board.run(one);
            const Receiving receiving = board.receiving();
            more = board.take();
            answer = "state " + std::to_string(board.sending()) + ' ' + std::to_string(receiving) + ' ' +
                     std::to_string(more.size()) + ' ' + std::to_string(board.cycles());
        } else if (request == "abort") {
            board.abort();
        } else {
            return 2;
        }
        if (!board.error().empty()) {
            answer = "error " + board.error();
            more.clear();
        }
        std::printf("%s\n", answer.c_str());
        std::fwrite(more.data(), 1, more.size(), stdout);
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s DRIVER SINK SEED\n", argv[0]);
        return 2;
    }
    Board board(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
    return serve(board);
}
