#pragma once

// What a request or response consists of, as a table of fields. From the one table come the reader of JSON bodies and
// forms, the texts of its errors, and the JSON schema in the OpenAPI document.
//
//   struct Circle { double radius = 1; std::string color; };
//   using S = Schema<Circle>;
//   const S kCircle({.title = "Circle", .description = "A circle."},
//                   {S::field(number("radius", 0, 10, "In meters.").fallback(1.0), &Circle::radius),
//                    S::field(text("color", "Its color.").required(), &Circle::color)});
//   const Circle circle = kCircle.parse_json(body);
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "server/multipart.h"

namespace dreamlab {

// What is wrong with a request. status: 400 for what cannot be read at all, 422 for what is read and not allowed.
class RequestError : public Error {
 public:
  RequestError(int status, std::string field, const std::string& message)
      : Error(ErrorKind::invalid_argument, message), status_(status), field_(std::move(field)) {}
  int status() const noexcept { return status_; }
  const std::string& field() const noexcept { return field_; }  // "style_lora.level"; "" for the body as a whole

 private:
  int status_;
  std::string field_;
};

enum class ValueType {
  boolean,
  integer,
  number,
  text,
  texts,    // an array of texts
  object,   // with fields of its own
  objects,  // an array of them; in responses only
  map,      // an object with any content; requests skip it
  file,     // an upload; in forms only
};

struct ObjectValue;
// Null, or what ValueType says in its order; a file is its bytes.
using FieldValue = std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>,
                                std::shared_ptr<ObjectValue>>;
// The fields that were there, by their index in the table.
struct ObjectValue {
  std::vector<std::pair<size_t, FieldValue>> fields;
};

struct ObjectRules;

struct FieldRules {
  std::string name;
  ValueType type = ValueType::text;
  std::string description;
  bool is_required = false;
  bool is_nullable = false;                       // null counts as absent
  std::optional<double> smallest, largest;        // of a number
  int64_t multiple_of = 1;                        // of an integer
  std::optional<size_t> shortest, longest;        // of a text in bytes, of an array in elements
  std::vector<std::string> choices;               // of a text
  std::string pattern;                            // of a text, for the document (ECMA 262); `check` decides
  std::function<void(const std::string&)> check;  // throws Error with the whole message
  FieldValue default_value;                       // for the document; null: none
  FieldValue example_value;
  std::shared_ptr<const ObjectRules> object;  // of an object, or of the elements of an array

  FieldRules&& required() &&;
  FieldRules&& nullable() &&;
  FieldRules&& multiples(int64_t of) &&;
  FieldRules&& length(size_t fewest, size_t most) &&;
  FieldRules&& form(std::string regular_expression, std::function<void(const std::string&)> checker) &&;
  FieldRules&& fallback(FieldValue value) &&;
  FieldRules&& example(FieldValue value) &&;
};

// The makers of rows. Bounds are inclusive.
FieldRules boolean(std::string name, std::string description);
FieldRules integer(std::string name, int64_t smallest, int64_t largest, std::string description);
FieldRules number(std::string name, double smallest, double largest, std::string description);
FieldRules text(std::string name, std::string description);
FieldRules choice(std::string name, std::vector<std::string> choices, std::string description);
FieldRules texts(std::string name, std::string description);
FieldRules map(std::string name, std::string description);
FieldRules file(std::string name, std::string description);
FieldRules object(std::string name, std::shared_ptr<const ObjectRules> rules, std::string description);
FieldRules objects(std::string name, std::shared_ptr<const ObjectRules> rules, std::string description);
// Numbers without bounds, for responses.
FieldRules count(std::string name, std::string description);
FieldRules quantity(std::string name, std::string description);

enum class UnknownFields { refuse, ignore };

struct ObjectRules {
  std::string title;  // "GenerateRequest": its name in the document
  std::string description;
  UnknownFields unknown = UnknownFields::refuse;
  std::vector<FieldRules> fields = {};
  bool is_array = false;  // the document is an array of such objects; in responses only
};

// The rules of a response.
std::shared_ptr<const ObjectRules> response_object(std::string title, std::string description,
                                                   std::vector<FieldRules> fields);
std::shared_ptr<const ObjectRules> response_array(std::string title, std::string description,
                                                  std::vector<FieldRules> fields);

// A JSON document of one object. Throws RequestError: 400 for what is no JSON (line and column are told), for an object
// with the same key twice and for nesting deeper than 32; 422, naming field, value and what is allowed, for the rest.
ObjectValue read_json_object(std::string_view body, const ObjectRules& rules);
// The parts of a form, each a field.
ObjectValue read_form_object(std::vector<FormPart> parts, const ObjectRules& rules);
// JSON Schema (draft 2020-12, as OpenAPI 3.1 has it).
nlohmann::json json_schema(const ObjectRules& rules);

namespace schema_detail {

template <typename M>
struct IsOptional : std::false_type {};
template <typename M>
struct IsOptional<std::optional<M>> : std::true_type {};

template <typename M>
void assign(M& member, FieldValue&& value) {
  if constexpr (IsOptional<M>::value) {
    assign(member.emplace(), std::move(value));
  } else if constexpr (std::is_same_v<M, bool>) {
    member = std::get<bool>(value);
  } else if constexpr (std::is_integral_v<M>) {
    member = static_cast<M>(std::get<int64_t>(value));
  } else if constexpr (std::is_floating_point_v<M>) {
    member = std::get<double>(value);
  } else {
    member = std::get<M>(std::move(value));
  }
}

}  // namespace schema_detail

template <typename T>
class Schema {
 public:
  using Land = std::function<void(T&, FieldValue&&)>;
  struct Field {
    FieldRules rules;
    Land land;
  };

  // Into a member of T (or of a base of T) of the field's type, or an optional of it.
  template <typename M, typename C>
  static Field field(FieldRules rules, M C::*member) {
    return {std::move(rules),
            [member](T& target, FieldValue&& value) { schema_detail::assign(target.*member, std::move(value)); }};
  }
  // Wherever `land` puts it. It may throw Error: the field is named before its message.
  static Field field(FieldRules rules, Land land) { return {std::move(rules), std::move(land)}; }
  // Known and read by no one.
  static Field unused(FieldRules rules) {
    return {std::move(rules), [](T&, FieldValue&&) {}};
  }
  // Another struct.
  template <typename N, typename C>
  static Field nested(std::string name, const Schema<N>& schema, std::optional<N> C::*member, std::string description) {
    return {object(std::move(name), schema.rules(), std::move(description)),
            [&schema, member](T& target, FieldValue&& value) {
              target.*member = schema.make(std::move(*std::get<std::shared_ptr<ObjectValue>>(value)));
            }};
  }

  static Field nullable(Field field) {
    field.rules.is_nullable = true;
    return field;
  }

  Schema(ObjectRules rules, std::vector<Field> fields) {
    for (Field& field : fields) {
      rules.fields.push_back(std::move(field.rules));
      landings_.push_back(std::move(field.land));
    }
    rules_ = std::make_shared<const ObjectRules>(std::move(rules));
  }
  Schema(const Schema&) = delete;
  Schema& operator=(const Schema&) = delete;

  const std::shared_ptr<const ObjectRules>& rules() const { return rules_; }
  T parse_json(std::string_view body) const { return make(read_json_object(body, *rules_)); }
  T parse_form(std::vector<FormPart> parts) const { return make(read_form_object(std::move(parts), *rules_)); }

  T make(ObjectValue&& value) const {
    T target{};
    for (auto& [index, field] : value.fields) {
      const std::string& name = rules_->fields[index].name;
      try {
        landings_[index](target, std::move(field));
      } catch (const RequestError&) {
        throw;
      } catch (const Error& error) {
        throw RequestError(422, name, name + ": " + error.what());
      }
    }
    return target;
  }

 private:
  std::shared_ptr<const ObjectRules> rules_;
  std::vector<Land> landings_;
};

}  // namespace dreamlab
