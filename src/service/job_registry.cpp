#include "service/job_registry.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "service/caught_error.h"

namespace dreamlab {

namespace {

// One listener. Records are put into its box by whoever has one, and handed on by whoever finds nobody doing so: in
// order, one at a time, without a lock.
class Following {
 public:
  explicit Following(JobRegistry::Listener listener) : listener_(std::move(listener)) {}

  void add(JobRecord record) {
    const std::lock_guard lock(mutex_);
    if (!left_) box_.push_back(std::move(record));
  }

  void hand_on() {
    std::unique_lock lock(mutex_);
    if (caller_ != std::thread::id()) return;
    caller_ = std::this_thread::get_id();
    while (!box_.empty()) {
      const JobRecord record = std::move(box_.front());
      box_.pop_front();
      lock.unlock();
      try {
        listener_(record);
      } catch (...) {
        log::error("a listener to a job's events threw: {}", caught_error().what());
      }
      lock.lock();
    }
    caller_ = {};
    called_.notify_all();
  }

  // No call is running afterwards, unless it is this thread's.
  void leave() {
    std::unique_lock lock(mutex_);
    left_ = true;
    box_.clear();
    called_.wait(lock, [this] { return caller_ == std::thread::id() || caller_ == std::this_thread::get_id(); });
  }

 private:
  const JobRegistry::Listener listener_;
  std::mutex mutex_;
  std::condition_variable called_;
  std::deque<JobRecord> box_;
  std::thread::id caller_;  // who is handing on
  bool left_ = false;
};

JobFile png_of(JobResult result) {
  JobFile file;
  file.bytes = std::move(result.png);
  file.content_type = mime_type_of(ImageFormat::png);
  file.seed = result.seed;
  file.parameters = std::move(result.parameters);
  return file;
}

// With a place in the queue.
bool is_queued(const JobProgress& progress) {
  return progress.state == JobState::queued && progress.position > 0;
}

class FollowingSubscription final : public JobRegistry::Subscription {
 public:
  explicit FollowingSubscription(std::shared_ptr<Following> following) : following_(std::move(following)) {}
  ~FollowingSubscription() override { following_->leave(); }

 private:
  const std::shared_ptr<Following> following_;
};

}  // namespace

// One job.
class JobRegistry::Entry {
 public:
  explicit Entry(JobRecord::Clock::time_point submitted) { record_.submitted = submitted; }

  void set_ticket(std::shared_ptr<JobTicket> ticket) {
    const std::lock_guard lock(mutex_);
    record_.id = ticket->id();
    record_.mode = ticket->mode();
    const JobProgress progress = ticket->progress();
    const bool knows_more = progress.state == JobState::queued && record_.progress.position == 0;
    if (knows_more && record_.progress.state == JobState::queued) record_.progress = progress;
    if (!record_.has_ended()) ticket_ = std::move(ticket);
  }

  JobRecord record() const {
    const std::lock_guard lock(mutex_);
    return present();
  }

  void progress(const JobProgress& progress) {
    // The job's end is told with its file.
    if (progress.state != JobState::queued && progress.state != JobState::running) return;
    update([&] {
      // It came with the ticket already.
      if (is_queued(record_.progress) && is_queued(progress) && progress.position >= record_.progress.position) {
        return false;
      }
      record_.progress = progress;
      return true;
    });
  }

  // False: it had ended before.
  bool end(std::variant<JobFile, Error> outcome, JobRecord::Clock::time_point now) {
    return update([&] {
      record_ = present();
      record_.ended = now;
      ticket_ = nullptr;  // it holds the pictures that the job was made from
      record_.progress.position = 0;
      record_.progress.preview = nullptr;
      if (auto* file = std::get_if<JobFile>(&outcome)) {
        record_.progress.state = JobState::done;
        record_.file = std::make_shared<const JobFile>(std::move(*file));
      } else {
        record_.error = std::get<Error>(outcome);
        const bool cancelled = record_.error->kind() == ErrorKind::cancelled;
        record_.progress.state = cancelled ? JobState::cancelled : JobState::failed;
      }
      return true;
    });
  }

  std::unique_ptr<Subscription> follow(Listener listener) {
    const auto following = std::make_shared<Following>(std::move(listener));
    {
      const std::lock_guard lock(mutex_);
      following->add(present());
      if (!record_.has_ended()) followings_.push_back(following);
    }
    following->hand_on();
    return std::make_unique<FollowingSubscription>(following);
  }

  void cancel() {
    finish_cancel->cancel();
    std::shared_ptr<JobTicket> ticket;
    {
      const std::lock_guard lock(mutex_);
      ticket = ticket_;
    }
    if (ticket) ticket->cancel();
  }

  uint64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return record_.file ? record_.file->bytes.size() : 0;
  }

  const std::shared_ptr<CancelToken> finish_cancel = std::make_shared<CancelToken>();
  bool has_left = false;  // the shelf, which guards it; perhaps before it was put there

 private:
  // With mutex_ held.
  JobRecord present() const {
    JobRecord record = record_;
    if (ticket_) record.mode = ticket_->mode();
    return record;
  }

  // Makes a change that listeners are to hear of. False where the job has ended, or the change says that it is none.
  template <typename Change>
  bool update(const Change& change) {
    std::vector<std::shared_ptr<Following>> followings;
    {
      const std::lock_guard lock(mutex_);
      if (record_.has_ended() || !change()) return false;
      // Listeners that have left are forgotten.
      const auto gone = [](const std::weak_ptr<Following>& following) { return following.expired(); };
      followings_.erase(std::remove_if(followings_.begin(), followings_.end(), gone), followings_.end());
      for (const std::weak_ptr<Following>& weak : followings_) {
        if (std::shared_ptr<Following> following = weak.lock()) followings.push_back(std::move(following));
      }
      for (const std::shared_ptr<Following>& following : followings) following->add(present());
      if (record_.has_ended()) followings_.clear();
    }
    for (const std::shared_ptr<Following>& following : followings) following->hand_on();
    return true;
  }

  mutable std::mutex mutex_;
  JobRecord record_;
  std::shared_ptr<JobTicket> ticket_;
  std::vector<std::weak_ptr<Following>> followings_;
};

// The entries, and the rule by which those that have ended leave.
class JobRegistry::Shelf {
 public:
  explicit Shelf(JobRegistryOptions options) : options_(std::move(options)) {}

  JobRecord::Clock::time_point now() const { return options_.now(); }

  void add(const std::string& id, std::shared_ptr<Entry> entry) {
    const std::lock_guard lock(mutex_);
    clear_up();
    if (!entry->has_left) entries_.emplace(id, std::move(entry));
  }

  std::shared_ptr<Entry> find(const std::string& id) {
    const std::lock_guard lock(mutex_);
    clear_up();
    const auto found = entries_.find(id);
    return found == entries_.end() ? nullptr : found->second;
  }

  size_t size() {
    const std::lock_guard lock(mutex_);
    clear_up();
    return entries_.size();
  }

  void end(const std::shared_ptr<Entry>& entry, std::variant<JobFile, Error> outcome) {
    const auto time = now();
    if (!entry->end(std::move(outcome), time)) return;
    const uint64_t bytes = entry->bytes();
    const std::lock_guard lock(mutex_);
    ended_.push_back({entry, time, bytes});
    bytes_ += bytes;
    clear_up();
  }

 private:
  struct Ended {
    std::shared_ptr<Entry> entry;
    JobRecord::Clock::time_point time;
    uint64_t bytes;
  };

  // With mutex_ held. The last one to end stays, however large its file.
  void clear_up() {
    const auto oldest =
        now() - std::chrono::duration_cast<JobRecord::Clock::duration>(std::chrono::duration<double>(options_.keep_s));
    while (!ended_.empty()) {
      const bool too_many = ended_.size() > options_.max_ended || (bytes_ > options_.max_bytes && ended_.size() > 1);
      if (!too_many && ended_.front().time > oldest) return;
      const std::shared_ptr<Entry> entry = std::move(ended_.front().entry);
      entry->has_left = true;
      bytes_ -= ended_.front().bytes;
      ended_.pop_front();
      const auto found =
          std::find_if(entries_.begin(), entries_.end(), [&](const auto& item) { return item.second == entry; });
      if (found != entries_.end()) entries_.erase(found);
    }
  }

  const JobRegistryOptions options_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::deque<Ended> ended_;  // in the order in which they ended
  uint64_t bytes_ = 0;
};

JobRegistry::JobRegistry(JobRegistryOptions options) : shelf_(std::make_shared<Shelf>(std::move(options))) {}

JobRegistry::~JobRegistry() = default;

JobRecord JobRegistry::submit(PipelineService& service, JobRequest request, double timeout_s, bool previews,
                              FinishJob finish, bool with_latents) {
  const auto entry = std::make_shared<Entry>(shelf_->now());
  SubmitOptions options;
  options.timeout_s = timeout_s;
  options.previews = previews;
  options.with_latents = with_latents;
  options.on_progress = [entry](const JobProgress& progress) { entry->progress(progress); };
  options.on_done = [shelf = shelf_, entry, finish = std::move(finish)](JobOutcome outcome) {
    const auto end = [shelf, entry](std::variant<JobFile, Error> file) { shelf->end(entry, std::move(file)); };
    if (const auto* error = std::get_if<Error>(&outcome)) return end(*error);
    if (!finish) return end(png_of(std::get<JobResult>(std::move(outcome))));
    try {
      finish(std::get<JobResult>(std::move(outcome)), entry->finish_cancel, end);
    } catch (...) {
      end(caught_error());
    }
  };
  const std::shared_ptr<JobTicket> ticket = service.submit(std::move(request), std::move(options));
  entry->set_ticket(ticket);
  shelf_->add(ticket->id(), entry);
  return entry->record();
}

std::optional<JobRecord> JobRegistry::find(const std::string& id) const {
  const std::shared_ptr<Entry> entry = shelf_->find(id);
  return entry ? std::optional(entry->record()) : std::nullopt;
}

std::unique_ptr<JobRegistry::Subscription> JobRegistry::follow(const std::string& id, Listener listener) {
  const std::shared_ptr<Entry> entry = shelf_->find(id);
  return entry ? entry->follow(std::move(listener)) : nullptr;
}

bool JobRegistry::cancel(const std::string& id) {
  const std::shared_ptr<Entry> entry = shelf_->find(id);
  if (entry) entry->cancel();
  return entry != nullptr;
}

size_t JobRegistry::size() const {
  return shelf_->size();
}

}  // namespace dreamlab
