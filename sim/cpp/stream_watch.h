// Reads the streams between the stages while mixq_top runs: their handshakes, and the payloads of accepted beats.
//
// network_config.h defines STREAMS, their number, STREAMS_SCOPE, the instance that has their signals, SIGNALS(X), X of
// the report's word and the signal for valid, ready and room, and PAYLOADS(X), X of the signal and the bits for each
// payload; nothing where payloads are not to be read.
//
// Activity: the handshakes of all cycles between the last beats of two frames, a row of valid bits and one of ready
// bits for each cycle. Taps: a file for each stream, "0" and so on, of records: the cycle in 8 bytes and the payload,
// lowest byte first.

#ifndef STREAM_WATCH_H
#define STREAM_WATCH_H

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "network_config.h"
#include "verilated.h"
#include "verilated_syms.h"

class StreamWatch {
  public:
    static constexpr size_t kRow = (STREAMS + 7) / 8;

    void attach(const VerilatedContext& context) {
        const VerilatedScope* const scope = context.scopeFind("mixq_top." STREAMS_SCOPE);
        const auto find = [scope](const char* name) -> const uint8_t* {
            const VerilatedVar* const signal = scope == nullptr ? nullptr : scope->varFind(name);
            if (signal == nullptr) {
                std::cout << "no signal " << name << std::endl;
                return nullptr;
            }
            return static_cast<const uint8_t*>(signal->datap());
        };
#define FIND(word, name) handshakes_.push_back({word, find(name)});
        SIGNALS(FIND)
#undef FIND
#define FIND(name, bits) payloads_.push_back({find(name), (bits + 7) / 8});
        PAYLOADS(FIND)
#undef FIND
        for (const auto& signal : handshakes_) found_ = found_ && signal.bytes != nullptr;
        for (const auto& signal : payloads_) found_ = found_ && signal.bytes != nullptr;
    }

    void keep_activity(const std::string& path) { activity_ = path; }

    // limits: of the beats that are kept of each stream.
    void tap(const std::string& folder, const std::vector<size_t>& limits) {
        limits_ = limits;
        counts_.assign(limits.size(), 0);
        for (size_t i = 0; i < limits.size() && i < payloads_.size(); ++i) {
            taps_.push_back(std::fopen((folder + "/" + std::to_string(i)).c_str(), "wb"));
            written_ = written_ && taps_.back() != nullptr;
        }
    }

    // All signals are settled, and the next edge takes the beats whose valid and ready are 1.
    void sample(uint64_t cycle) {
        if (!found_) return;
        const uint8_t *const valid = handshakes_[0].bytes, *const ready = handshakes_[1].bytes;
        if (!activity_.empty() && window_.size() < kMostBytes) {
            window_.insert(window_.end(), valid, valid + kRow);
            window_.insert(window_.end(), ready, ready + kRow);
        }
        for (size_t i = 0; i < taps_.size(); ++i) {
            if ((valid[i / 8] & ready[i / 8]) >> (i % 8) & 1 && counts_[i] < limits_[i]) write(i, cycle);
        }
    }

    // The last beat of a frame left with what was sampled last; sending: whether frames are still coming in.
    void end_frame(uint64_t cycle, bool sending) {
        if (started_ && window_.size() < kMostBytes && sending) {
            kept_.swap(window_);
            first_ = begin_;
            end_ = cycle + 1;
        }
        window_.clear();
        started_ = true;
        begin_ = cycle + 1;
    }

    // The handshakes as sim/deadlock.py takes them: the first stream's bit first.
    std::vector<std::string> states() const {
        std::vector<std::string> lines;
        for (const auto& signal : handshakes_) {
            if (signal.bytes == nullptr) continue;
            std::string bits;
            for (size_t i = 0; i < STREAMS; ++i) bits += static_cast<char>('0' + (signal.bytes[i / 8] >> (i % 8) & 1));
            lines.push_back(std::string(signal.word) + ' ' + bits);
        }
        return lines;
    }

    // Returns whether everything was written.
    bool report(std::ofstream& file) {
        if (end_ > first_) {
            std::ofstream bytes(activity_, std::ios::binary);
            bytes.write(reinterpret_cast<const char*>(kept_.data()), static_cast<std::streamsize>(kept_.size()));
            bytes.close();
            written_ = written_ && bytes.good();
            file << "activity " << first_ << ' ' << end_ << '\n';
        }
        for (std::FILE* const tap : taps_) written_ = tap != nullptr && std::fclose(tap) == 0 && written_;
        taps_.clear();
        return written_;
    }

  private:
    struct Handshake {
        const char* word;
        const uint8_t* bytes;
    };
    struct Payload {
        const uint8_t* bytes;
        size_t size;
    };
    static constexpr size_t kMostBytes = size_t{1} << 28;

    void write(size_t stream, uint64_t cycle) {
        ++counts_[stream];
        std::array<uint8_t, 8> stamp;
        for (size_t i = 0; i < stamp.size(); ++i) stamp[i] = static_cast<uint8_t>(cycle >> (8 * i));
        const Payload& own = payloads_[stream];
        written_ = std::fwrite(stamp.data(), stamp.size(), 1, taps_[stream]) == 1 &&
                   std::fwrite(own.bytes, own.size, 1, taps_[stream]) == 1 && written_;
    }

    std::vector<Handshake> handshakes_;
    std::vector<Payload> payloads_;
    std::vector<std::FILE*> taps_;
    std::vector<size_t> limits_, counts_;
    std::vector<uint8_t> window_, kept_;
    std::string activity_;
    uint64_t begin_ = 0, first_ = 0, end_ = 0;
    bool found_ = true, written_ = true, started_ = false;
};

#endif
