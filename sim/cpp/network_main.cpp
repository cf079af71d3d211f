// Sends frames through module mixq_top and takes what comes out, without anything but C++ in the loop.
//
// Usage: mixq_top REQUEST, a text file of lines "key value..."; sim/network.py writes it and reads the report.
// network_config.h defines INPUT_BYTES and OUTPUT_BYTES, the widths of the two tdata ports, and OTHER_INPUTS(X),
// X of the name of each further input; these are held at 0. FAST_CLOCK is 1 where there is a second clock, ap_clk2x,
// which rises with either edge of ap_clk, in the same evaluation, so that no register of one domain sees what one of
// the other becomes with the same edge.
// Where the Verilog names its streams, STREAMS is defined, and stream_watch.h reads them. TRACE is defined where the
// model writes waveforms: those of the cycles from trace_first to trace_last, ten units of time for each.
// All inputs change after the falling edge of the clock and everything is sampled in the settled low phase just
// before the rising one, as in sim/streams.py, whose rules are checked here too.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "Vmixq_top.h"
#include "bus.h"
#include "network_config.h"
#include "verilated.h"
#ifdef STREAMS
#include "stream_watch.h"
#endif
#ifdef TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr size_t kMostErrors = 20;
constexpr unsigned kProbeEvery = 64;

struct Request {
    std::map<std::string, std::string> values;
    explicit Request(const char* path) {
        std::ifstream file(path);
        std::string line;
        while (std::getline(file, line)) {
            const size_t space = line.find(' ');
            values[line.substr(0, space)] = space == std::string::npos ? "" : line.substr(space + 1);
        }
    }
    bool has(const char* key) const { return values.count(key) != 0; }
    const std::string& text(const char* key) const { return values.at(key); }
    uint64_t number(const char* key) const { return std::stoull(values.at(key)); }
    std::vector<size_t> numbers(const char* key) const {
        std::istringstream stream(values.at(key));
        return {std::istream_iterator<size_t>(stream), {}};
    }
};

struct Offer {
    uint8_t data[OUTPUT_BYTES], keep[kOutputKeepBytes], last;
    bool operator==(const Offer& other) const {
        return std::memcmp(data, other.data, sizeof data) == 0 &&
               std::memcmp(keep, other.keep, sizeof keep) == 0 && last == other.last;
    }
};

class Bench {
  public:
    explicit Bench(const Request& request)
        : request_(request),
          lengths_(request.numbers("lengths")),
          frame_bytes_(request.number("output_frame_bytes")),
          frames_(request.number("output_frames")),
          frame_beats_((frame_bytes_ + OUTPUT_BYTES - 1) / OUTPUT_BYTES),
          stall_limit_(request.number("stall_limit")),
          random_(request.number("seed")) {
        context_.randReset(2);  // state that nothing initialises starts at random
        context_.randSeed(static_cast<int>(1 + request.number("seed") % 0x7fffffff));
        std::ifstream file(request.text("input"), std::ios::binary);
        data_.assign(std::istreambuf_iterator<char>(file), {});
        top_ = std::make_unique<Vmixq_top>(&context_, "mixq_top");
#define CLEAR(name) std::memset(&top_->name, 0, sizeof top_->name);
        OTHER_INPUTS(CLEAR)
#undef CLEAR
#ifdef STREAMS
        watch_.attach(context_);
        if (request_.has("activity")) watch_.keep_activity(request_.text("activity"));
        if (request_.has("tap")) watch_.tap(request_.text("tap"), request_.numbers("tap_beats"));
#endif
        if (request_.has("stop_frames")) stop_frames_ = request_.number("stop_frames");
#ifdef TRACE
        context_.traceEverOn(true);
        top_->trace(&waves_, 99);
        waves_.set_time_unit("1ns");
        waves_.set_time_resolution("1ns");
        waves_.open(request_.text("trace").c_str());
        trace_first_ = request_.number("trace_first");
        trace_last_ = request_.number("trace_last");
#endif
    }

    int run() {
        const uint64_t resets = request_.number("resets");
        const unsigned span = static_cast<unsigned>(request_.number("reset_span"));
        for (uint64_t interruption = 0; interruption < resets && hang_.empty(); ++interruption) {
            reset();
            const uint64_t stop = 1 + random_.below(span);
            while (cycle_ < stop && !context_.gotFinish()) cycle(true);
        }
        reset();
        uint64_t quiet = 0;
        while (hang_.empty() && !(frame_ == lengths_.size() && firsts_.size() == frames_ && lasts_.size() == frames_)) {
            quiet = cycle(true) ? 0 : quiet + 1;
            if (quiet > stall_limit_) hang();
            if (context_.gotFinish()) hang_ = "the design ended the simulation";
            if (lasts_.size() == stop_frames_) return finish();
            if (lasts_.size() != told_) {
                told_ = lasts_.size();
                std::cout << "frame " << told_ << std::endl;
            }
        }
        const uint64_t tail = request_.number("tail_cycles");
        for (uint64_t count = 0; count < tail && hang_.empty(); ++count) cycle(true);
        return finish();
    }

  private:
    int finish() {
        top_->final();
#ifdef TRACE
        waves_.close();
#endif
        return report();
    }

    // The phase from here on starts over: frames, cycles and what came out.
    void reset() {
        const uint64_t seed = random_.next();
        driver_ = std::make_unique<Stalls>(request_.text("driver"), false, seed);
        sink_ = std::make_unique<Stalls>(request_.text("sink"), true, seed + 1);
        offered_ = standing_ = valid_before_ = false;
        frame_ = sent_ = start_ = beat_ = 0;
        cycle_ = 0;
        output_.clear();
        starts_.clear();
        firsts_.clear();
        lasts_.clear();
        idle();
        top_->ap_rst_n = 0;
        const unsigned cycles = 2 + random_.below(3);
        for (unsigned count = 0; count < cycles; ++count) {
            top_->ap_clk = 0;
            top_->m_axis_0_tready = sink_->step(false);
            edge();
            if (count > 0 && top_->m_axis_0_tvalid) error("m_axis_0_tvalid is 1 in reset");
            top_->ap_clk = 1;
            edge();
        }
        top_->ap_clk = 0;
        top_->ap_rst_n = 1;
        // AXI forbids valid in the first cycle after reset.
        for (unsigned count = 1 + random_.below(2); count > 0; --count) cycle(false);
    }

    void edge() { evaluate(*top_); }

    void idle() {
        uint8_t noise[INPUT_BYTES], keep[kInputKeepBytes];
        for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random_.next());
        for (uint8_t& byte : keep) byte = 0;
        put(top_->s_axis_0_tdata, noise, INPUT_BYTES);
        put(top_->s_axis_0_tkeep, keep, kInputKeepBytes);
        top_->s_axis_0_tlast = random_.below(2);
        top_->s_axis_0_tvalid = 0;
    }

    void offer() {
        const size_t left = lengths_[frame_] - sent_;
        const size_t count = left < INPUT_BYTES ? left : INPUT_BYTES;
        uint8_t bytes[INPUT_BYTES], keep[kInputKeepBytes] = {};
        for (size_t i = 0; i < INPUT_BYTES; ++i) {
            bytes[i] = i < count ? data_[start_ + sent_ + i] : static_cast<uint8_t>(random_.next());
            if (i < count) keep[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        }
        put(top_->s_axis_0_tdata, bytes, INPUT_BYTES);
        put(top_->s_axis_0_tkeep, keep, kInputKeepBytes);
        top_->s_axis_0_tlast = left <= INPUT_BYTES;
        top_->s_axis_0_tvalid = 1;
        offered_ = true;
        offered_bytes_ = count;
    }

    bool cycle(bool start) {
        top_->ap_clk = 0;
        if (start && !offered_) {
            const bool go = driver_->step(false);
            if (go && frame_ < lengths_.size()) {
                offer();
            } else {
                idle();
            }
        }
        const bool ready = sink_->step(valid_before_);
        top_->m_axis_0_tready = ready;
        edge();
        if (random_.below(kProbeEvery) == 0) probe(ready);
        if (starts_.empty() && !offered_ && top_->m_axis_0_tvalid) {
            error("m_axis_0_tvalid is 1 after reset, before any input");
        }
        const bool took = sample(ready);
        const bool gave = offered_ && top_->s_axis_0_tready;
        if (gave) accept();
        if (start) watch();
        dump(0);
        top_->ap_clk = 1;
        edge();
        dump(5);
        ++cycle_;
        return took || gave;
    }

    void watch() {
#ifdef STREAMS
        watch_.sample(cycle_);
        if (!lasts_.empty() && lasts_.back() == cycle_) watch_.end_frame(cycle_, frame_ < lengths_.size());
#endif
    }

    void dump([[maybe_unused]] uint64_t part) {
#ifdef TRACE
        if (trace_first_ <= cycle_ && cycle_ <= trace_last_) waves_.dump(10 * cycle_ + part);
#endif
    }

    void accept() {
        if (sent_ == 0) starts_.push_back(cycle_);
        sent_ += offered_bytes_;
        offered_ = false;
        if (sent_ == lengths_[frame_]) {
            start_ += sent_;
            sent_ = 0;
            ++frame_;
        }
    }

    Offer read() const {
        Offer now;
        get(top_->m_axis_0_tdata, now.data, OUTPUT_BYTES);
        get(top_->m_axis_0_tkeep, now.keep, kOutputKeepBytes);
        now.last = top_->m_axis_0_tlast;
        return now;
    }

    // Within a cycle nothing on the output may follow ready.
    void probe(bool ready) {
        const bool valid = top_->m_axis_0_tvalid;
        const Offer before = read();
        top_->m_axis_0_tready = !ready;
        top_->eval();
        if (valid != static_cast<bool>(top_->m_axis_0_tvalid)) {
            error("m_axis_0_tvalid follows m_axis_0_tready within the cycle");
        } else if (valid && !(before == read())) {
            error("m_axis_0_tdata follows m_axis_0_tready within the cycle");
        }
        top_->m_axis_0_tready = ready;
        top_->eval();
    }

    bool sample(bool ready) {
        if (!top_->m_axis_0_tvalid) {
            if (standing_) error("m_axis_0_tvalid fell before m_axis_0_tready took the beat");
            standing_ = valid_before_ = false;
            return false;
        }
        const Offer now = read();
        if (standing_ && !(now == before_)) error("the beat changed while it waited for m_axis_0_tready");
        before_ = now;
        standing_ = valid_before_ = !ready;
        return ready && take(now);
    }

    // Returns whether the beat was one of those expected: others are no progress.
    bool take(const Offer& now) {
        if (lasts_.size() == frames_) {
            error("a beat more than expected");
            return false;
        }
        if (beat_ == 0) firsts_.push_back(cycle_);
        const bool ends = beat_ + 1 == frame_beats_;
        const size_t count = ends ? frame_bytes_ - beat_ * OUTPUT_BYTES : OUTPUT_BYTES;
        output_.insert(output_.end(), now.data, now.data + count);
        uint8_t keep[kOutputKeepBytes] = {};
        for (size_t i = 0; i < count; ++i) keep[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        const std::string place = " on beat " + std::to_string(beat_) + " of a frame";
        if (std::memcmp(keep, now.keep, sizeof keep) != 0) error("m_axis_0_tkeep is wrong" + place);
        if (static_cast<bool>(now.last) != ends) {
            error("m_axis_0_tlast is " + std::to_string(now.last) + place);
        }
        ++beat_;
        if (ends) {
            beat_ = 0;
            lasts_.push_back(cycle_);
        }
        return true;
    }

    void error(const std::string& message) {
        if (errors_.size() < kMostErrors) errors_.push_back("cycle " + std::to_string(cycle_) + ": " + message);
    }

    void hang() {
        std::ostringstream text;
        text << "cycle " << cycle_ << ": no beat for " << stall_limit_ << " cycles: " << frame_ << " of "
             << lengths_.size() << " frames and " << sent_ << " bytes in, " << lasts_.size() << " of " << frames_
             << " frames and " << beat_ << " beats out, s_axis_0_tvalid " << int(top_->s_axis_0_tvalid)
             << ", s_axis_0_tready " << int(top_->s_axis_0_tready) << ", m_axis_0_tvalid "
             << int(top_->m_axis_0_tvalid) << ", m_axis_0_tready " << int(top_->m_axis_0_tready);
        hang_ = text.str();
#ifdef STREAMS
        streams_ = watch_.states();
#endif
    }

    int report() {
        std::ofstream bytes(request_.text("output"), std::ios::binary);
        bytes.write(reinterpret_cast<const char*>(output_.data()), static_cast<std::streamsize>(output_.size()));
        bytes.close();
        std::ofstream file(request_.text("report"));
        const auto list = [&file](const char* key, const std::vector<uint64_t>& values) {
            file << key;
            for (const uint64_t value : values) file << ' ' << value;
            file << '\n';
        };
        list("starts", starts_);
        list("firsts", firsts_);
        list("lasts", lasts_);
        file << "cycles " << cycle_ << '\n';
        for (const std::string& message : errors_) file << "error " << message << '\n';
        if (!hang_.empty()) file << "hang " << hang_ << '\n';
        for (const std::string& handshakes : streams_) file << "streams " << handshakes << '\n';
        bool written = true;
#ifdef STREAMS
        written = watch_.report(file);
#endif
        file.close();
        return written && bytes.good() && file.good() ? 0 : 1;
    }

    const Request& request_;
    const std::vector<size_t> lengths_;
    const size_t frame_bytes_, frames_, frame_beats_;
    const uint64_t stall_limit_;
    Random random_;
    VerilatedContext context_;
    std::unique_ptr<Vmixq_top> top_;
    std::unique_ptr<Stalls> driver_, sink_;
    Bytes data_, output_;
    bool offered_ = false, standing_ = false, valid_before_ = false;
    size_t offered_bytes_ = 0, frame_ = 0, sent_ = 0, start_ = 0, beat_ = 0, told_ = 0;
    uint64_t cycle_ = 0;
    Offer before_{};
    std::vector<uint64_t> starts_, firsts_, lasts_;
    std::vector<std::string> errors_, streams_;
    std::string hang_;
    uint64_t stop_frames_ = UINT64_MAX;
#ifdef STREAMS
    StreamWatch watch_;
#endif
#ifdef TRACE
    VerilatedVcdC waves_;
    uint64_t trace_first_ = 0, trace_last_ = 0;
#endif
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " REQUEST" << std::endl;
        return 2;
    }
    const Request request(argv[1]);
    return Bench(request).run();
}
