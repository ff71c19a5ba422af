#include "server/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace dreamlab {

using nlohmann::json;

// --- making rows ---

FieldRules&& FieldRules::required() && {
  is_required = true;
  return std::move(*this);
}

FieldRules&& FieldRules::nullable() && {
  is_nullable = true;
  return std::move(*this);
}

FieldRules&& FieldRules::multiples(int64_t of) && {
  multiple_of = of;
  return std::move(*this);
}

FieldRules&& FieldRules::length(size_t fewest, size_t most) && {
  shortest = fewest;
  longest = most;
  return std::move(*this);
}

FieldRules&& FieldRules::form(std::string regular_expression, std::function<void(const std::string&)> checker) && {
  pattern = std::move(regular_expression);
  check = std::move(checker);
  return std::move(*this);
}

FieldRules&& FieldRules::fallback(FieldValue value) && {
  default_value = std::move(value);
  return std::move(*this);
}

FieldRules&& FieldRules::example(FieldValue value) && {
  example_value = std::move(value);
  return std::move(*this);
}

namespace {

FieldRules row(std::string name, ValueType type, std::string description) {
  FieldRules rules;
  rules.name = std::move(name);
  rules.type = type;
  rules.description = std::move(description);
  return rules;
}

}  // namespace

FieldRules boolean(std::string name, std::string description) {
  return row(std::move(name), ValueType::boolean, std::move(description));
}

FieldRules integer(std::string name, int64_t smallest, int64_t largest, std::string description) {
  FieldRules rules = row(std::move(name), ValueType::integer, std::move(description));
  rules.smallest = static_cast<double>(smallest);
  rules.largest = static_cast<double>(largest);
  return rules;
}

FieldRules number(std::string name, double smallest, double largest, std::string description) {
  FieldRules rules = row(std::move(name), ValueType::number, std::move(description));
  rules.smallest = smallest;
  rules.largest = largest;
  return rules;
}

FieldRules text(std::string name, std::string description) {
  return row(std::move(name), ValueType::text, std::move(description));
}

FieldRules choice(std::string name, std::vector<std::string> choices, std::string description) {
  FieldRules rules = row(std::move(name), ValueType::text, std::move(description));
  rules.choices = std::move(choices);
  return rules;
}

FieldRules texts(std::string name, std::string description) {
  return row(std::move(name), ValueType::texts, std::move(description));
}

FieldRules map(std::string name, std::string description) {
  return row(std::move(name), ValueType::map, std::move(description));
}

FieldRules file(std::string name, std::string description) {
  return row(std::move(name), ValueType::file, std::move(description));
}

FieldRules object(std::string name, std::shared_ptr<const ObjectRules> rules, std::string description) {
  FieldRules made = row(std::move(name), ValueType::object, std::move(description));
  made.object = std::move(rules);
  return made;
}

FieldRules objects(std::string name, std::shared_ptr<const ObjectRules> rules, std::string description) {
  FieldRules made = row(std::move(name), ValueType::objects, std::move(description));
  made.object = std::move(rules);
  return made;
}

FieldRules count(std::string name, std::string description) {
  return row(std::move(name), ValueType::integer, std::move(description));
}

FieldRules quantity(std::string name, std::string description) {
  return row(std::move(name), ValueType::number, std::move(description));
}

std::shared_ptr<const ObjectRules> response_object(std::string title, std::string description,
                                                   std::vector<FieldRules> fields) {
  return std::make_shared<const ObjectRules>(
      ObjectRules{std::move(title), std::move(description), UnknownFields::ignore, std::move(fields), false});
}

std::shared_ptr<const ObjectRules> response_array(std::string title, std::string description,
                                                  std::vector<FieldRules> fields) {
  return std::make_shared<const ObjectRules>(
      ObjectRules{std::move(title), std::move(description), UnknownFields::ignore, std::move(fields), true});
}

// --- reading ---

namespace {

constexpr int kDeepest = 32;
constexpr size_t kShownCharacters = 64;

// A value as a message shows it: short, on one line.
std::string shown(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= kShownCharacters) return text;
  size_t end = kShownCharacters;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
  return text.substr(0, end) + "...";
}

std::string plain(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? fmt::format("{}", static_cast<int64_t>(value))
                                                              : fmt::format("{}", value);
}

// "an integer in 1..50", "png, jpeg".
std::string allowed(const FieldRules& rules) {
  std::string text;
  const std::string range =
      rules.smallest && rules.largest ? fmt::format(" in {}..{}", plain(*rules.smallest), plain(*rules.largest)) : "";
  switch (rules.type) {
    case ValueType::boolean:
      text = "true or false";
      break;
    case ValueType::integer:
      text = "an integer" + range;
      if (rules.multiple_of > 1) text += fmt::format(", a multiple of {}", rules.multiple_of);
      break;
    case ValueType::number:
      text = "a number" + range;
      break;
    case ValueType::text:
      if (!rules.choices.empty())
        text = fmt::format("{}", fmt::join(rules.choices, ", "));
      else if (rules.longest)
        text = rules.shortest.value_or(0) > 0 ? fmt::format("a text of {}..{} bytes", *rules.shortest, *rules.longest)
                                              : fmt::format("a text of up to {} bytes", *rules.longest);
      else
        text = "a text";
      break;
    case ValueType::texts:
      text = rules.longest
                 ? fmt::format("an array of {}..{} texts", rules.shortest.value_or(0), rules.longest.value_or(0))
                 : "an array of texts";
      break;
    case ValueType::object:
    case ValueType::map:
      text = "an object";
      break;
    case ValueType::objects:
      text = "an array of objects";
      break;
    case ValueType::file:
      text = "a file that is not empty";
      break;
  }
  return rules.is_nullable ? text + " or null" : text;
}

[[noreturn]] void refuse(const std::string& path, const FieldRules& rules, const std::string& value) {
  throw RequestError(422, path, fmt::format("{} is {}; allowed: {}", path, value, allowed(rules)));
}

// Bounds and choices; `value` is shown.
void check_bounds(double number, const std::string& path, const FieldRules& rules, const json& value) {
  if ((rules.smallest && !(number >= *rules.smallest)) || (rules.largest && !(number <= *rules.largest)))
    refuse(path, rules, shown(value));
}

void check_text(const std::string& text, const std::string& path, const FieldRules& rules) {
  if (!rules.choices.empty() && std::find(rules.choices.begin(), rules.choices.end(), text) == rules.choices.end())
    refuse(path, rules, shown(text));
  if (text.size() < rules.shortest.value_or(0) ||
      text.size() > rules.longest.value_or(std::numeric_limits<size_t>::max()))
    refuse(path, rules, fmt::format("of {} bytes", text.size()));
  if (!rules.check) return;
  try {
    rules.check(text);
  } catch (const Error& error) {
    throw RequestError(422, path, error.what());
  }
}

std::optional<int64_t> to_integer(const json& value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return number <= uint64_t{std::numeric_limits<int64_t>::max()} ? static_cast<int64_t>(number)
                                                                   : std::numeric_limits<int64_t>::max();
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();  // 4.0 is an integer to JSON Schema
  if (number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(std::clamp(number, -kExact, kExact));
}

ObjectValue read_object(const json& value, const ObjectRules& rules, const std::string& prefix);

FieldValue read_texts(const json& value, const std::string& path, const FieldRules& rules) {
  if (!value.is_array()) refuse(path, rules, shown(value));
  if (value.size() < rules.shortest.value_or(0) ||
      value.size() > rules.longest.value_or(std::numeric_limits<size_t>::max()))
    refuse(path, rules, fmt::format("an array of {}", value.size()));
  std::vector<std::string> texts;
  for (const json& element : value) {
    if (!element.is_string()) refuse(path, rules, fmt::format("an array that holds {}", shown(element)));
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

FieldValue read_value(const json& value, const std::string& path, const FieldRules& rules) {
  if (value.is_null()) {
    if (!rules.is_nullable) refuse(path, rules, "null");
    return std::monostate{};
  }
  switch (rules.type) {
    case ValueType::boolean:
      if (!value.is_boolean()) refuse(path, rules, shown(value));
      return value.get<bool>();
    case ValueType::integer: {
      const auto number = to_integer(value);
      if (!number) refuse(path, rules, shown(value));
      check_bounds(static_cast<double>(*number), path, rules, value);
      if (*number % rules.multiple_of != 0) refuse(path, rules, shown(value));
      return *number;
    }
    case ValueType::number:
      if (!value.is_number()) refuse(path, rules, shown(value));
      check_bounds(value.get<double>(), path, rules, value);
      return value.get<double>();
    case ValueType::text: {
      if (!value.is_string()) refuse(path, rules, shown(value));
      auto text = value.get<std::string>();
      check_text(text, path, rules);
      return text;
    }
    case ValueType::texts:
      return read_texts(value, path, rules);
    case ValueType::object:
      if (!value.is_object()) refuse(path, rules, shown(value));
      return std::make_shared<ObjectValue>(read_object(value, *rules.object, path + "."));
    case ValueType::map:
      if (!value.is_object()) refuse(path, rules, shown(value));
      return std::monostate{};
    case ValueType::objects:
    case ValueType::file:
      break;
  }
  fail(ErrorKind::internal, "{} cannot be read from JSON", path);
}

size_t index_of(const ObjectRules& rules, std::string_view name) {
  size_t index = 0;
  while (index < rules.fields.size() && rules.fields[index].name != name) ++index;
  return index;
}

[[noreturn]] void refuse_unknown(const ObjectRules& rules, const std::string& prefix, const std::string& name) {
  std::vector<std::string_view> names;
  for (const FieldRules& field : rules.fields) names.emplace_back(field.name);
  throw RequestError(422, prefix + name,
                     fmt::format("{}{} is no field; allowed: {}", prefix, shown(name), fmt::join(names, ", ")));
}

void check_required(const ObjectValue& object, const ObjectRules& rules, const std::string& prefix) {
  for (size_t i = 0; i < rules.fields.size(); ++i) {
    if (!rules.fields[i].is_required) continue;
    if (std::none_of(object.fields.begin(), object.fields.end(), [&](const auto& field) { return field.first == i; }))
      refuse(prefix + rules.fields[i].name, rules.fields[i], "missing");
  }
}

ObjectValue read_object(const json& value, const ObjectRules& rules, const std::string& prefix) {
  ObjectValue object;
  for (const auto& [name, field] : value.items()) {
    const size_t index = index_of(rules, name);
    if (index == rules.fields.size()) {
      if (rules.unknown == UnknownFields::refuse) refuse_unknown(rules, prefix, name);
      continue;
    }
    FieldValue read = read_value(field, prefix + name, rules.fields[index]);
    if (!std::holds_alternative<std::monostate>(read)) object.fields.emplace_back(index, std::move(read));
  }
  check_required(object, rules, prefix);
  return object;
}

[[noreturn]] void malformed(const std::string& message) {
  throw RequestError(400, "", message);
}

std::string position(std::string_view body, size_t byte) {
  const std::string_view before = body.substr(0, std::min(byte > 0 ? byte - 1 : 0, body.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t start = before.rfind('\n');
  return fmt::format("line {}, column {}", line, before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1);
}

json parse_document(std::string_view body) {
  if (body.empty()) malformed("the body is empty; a JSON object is expected");
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kDeepest) malformed(fmt::format("the body is nested deeper than {} levels", kDeepest));
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      malformed(fmt::format("{} stands twice in one object", shown(parsed)));
    return true;
  };
  try {
    return json::parse(body.begin(), body.end(), check);
  } catch (const json::parse_error& error) {
    malformed(fmt::format("the body is not valid JSON at {}", position(body, error.byte)));
  } catch (const json::out_of_range&) {
    malformed("the body has a number that is too large for any field");
  }
}

// What a form field says, as the JSON value it stands for.
json form_value(const FormPart& part, const FieldRules& rules) {
  const std::string& text = part.body;
  const char* end = text.data() + text.size();
  switch (rules.type) {
    case ValueType::boolean:
      if (text == "true" || text == "1") return true;
      if (text == "false" || text == "0") return false;
      break;
    case ValueType::integer: {
      int64_t number = 0;
      const auto result = std::from_chars(text.data(), end, number);
      if (result.ec == std::errc() && result.ptr == end) return number;
      break;
    }
    case ValueType::number: {
      double number = 0;
      const auto result = std::from_chars(text.data(), end, number);
      if (result.ec == std::errc() && result.ptr == end && std::isfinite(number)) return number;
      break;
    }
    default:
      break;
  }
  return text;
}

FieldValue read_part(FormPart part, const FieldRules& rules) {
  if (rules.type != ValueType::file) return read_value(form_value(part, rules), rules.name, rules);
  if (part.body.empty()) refuse(rules.name, rules, "empty");
  return std::move(part.body);
}

}  // namespace

ObjectValue read_json_object(std::string_view body, const ObjectRules& rules) {
  const json document = parse_document(body);
  if (!document.is_object())
    throw RequestError(422, "", fmt::format("the body is {}; a JSON object is expected", shown(document)));
  return read_object(document, rules, "");
}

ObjectValue read_form_object(std::vector<FormPart> parts, const ObjectRules& rules) {
  ObjectValue object;
  std::set<size_t> seen;
  for (FormPart& part : parts) {
    const size_t index = index_of(rules, part.name);
    if (index == rules.fields.size()) {
      if (rules.unknown == UnknownFields::refuse) refuse_unknown(rules, "", part.name);
      continue;
    }
    if (!seen.insert(index).second)
      throw RequestError(422, part.name, fmt::format("{} stands twice in the form", part.name));
    object.fields.emplace_back(index, read_part(std::move(part), rules.fields[index]));
  }
  check_required(object, rules, "");
  return object;
}

// --- the document ---

namespace {

json to_json(const FieldValue& value) {
  return std::visit(
      [](const auto& held) -> json {
        using V = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<V, std::monostate> || std::is_same_v<V, std::shared_ptr<ObjectValue>>)
          return nullptr;
        else
          return held;
      },
      value);
}

json bound(double value, ValueType type) {
  return type == ValueType::integer ? json(static_cast<int64_t>(value)) : json(value);
}

json type_schema(const FieldRules& rules) {
  switch (rules.type) {
    case ValueType::boolean:
      return {{"type", "boolean"}};
    case ValueType::integer:
      return {{"type", "integer"}};
    case ValueType::number:
      return {{"type", "number"}};
    case ValueType::text:
      return {{"type", "string"}};
    case ValueType::texts:
      return {{"type", "array"}, {"items", {{"type", "string"}}}};
    case ValueType::object:
      return json_schema(*rules.object);
    case ValueType::objects:
      return {{"type", "array"}, {"items", json_schema(*rules.object)}};
    case ValueType::map:
      return {{"type", "object"}};
    case ValueType::file:
      return {{"type", "string"}, {"contentMediaType", "application/octet-stream"}};
  }
  return {};
}

json field_schema(const FieldRules& rules) {
  json schema = type_schema(rules);
  schema["description"] = rules.description;
  if (rules.smallest) schema["minimum"] = bound(*rules.smallest, rules.type);
  if (rules.largest) schema["maximum"] = bound(*rules.largest, rules.type);
  if (rules.multiple_of > 1) schema["multipleOf"] = rules.multiple_of;
  const bool is_text = rules.type == ValueType::text;
  if (rules.shortest) schema[is_text ? "minLength" : "minItems"] = *rules.shortest;
  if (rules.longest) schema[is_text ? "maxLength" : "maxItems"] = *rules.longest;
  if (!rules.choices.empty()) schema["enum"] = rules.choices;
  if (!rules.pattern.empty()) schema["pattern"] = rules.pattern;
  if (!std::holds_alternative<std::monostate>(rules.default_value)) schema["default"] = to_json(rules.default_value);
  if (!std::holds_alternative<std::monostate>(rules.example_value))
    schema["examples"] = json::array({to_json(rules.example_value)});
  if (!rules.is_nullable) return schema;
  schema["type"] = json::array({schema["type"], "null"});
  if (schema.contains("enum")) schema["enum"].push_back(nullptr);
  return schema;
}

}  // namespace

json json_schema(const ObjectRules& rules) {
  json properties = json::object();
  json required = json::array();
  for (const FieldRules& field : rules.fields) {
    properties[field.name] = field_schema(field);
    if (field.is_required) required.push_back(field.name);
  }
  json schema = {{"type", "object"}, {"title", rules.title}, {"properties", std::move(properties)}};
  if (!rules.description.empty()) schema["description"] = rules.description;
  if (!required.empty()) schema["required"] = std::move(required);
  if (rules.unknown == UnknownFields::refuse) schema["additionalProperties"] = false;
  if (!rules.is_array) return schema;
  return {{"type", "array"}, {"items", std::move(schema)}, {"title", rules.title}};
}

}  // namespace dreamlab
